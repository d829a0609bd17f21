import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { which } from "./packages.js";

/**
 * Child processes of tests. Only what was started here is ever signalled, by its pid and only while Node still knows it
 * as our child, so that a recycled pid can't be hit; and whatever happens to the test, nothing outlives it.
 */
const running = new Set<Started>();

/** How much of a child's output is kept for messages, characters. */
const KEPT_OUTPUT = 16_384;

export interface StartOptions extends SpawnOptions {
  /** Name in messages. Default: the command. */
  readonly name?: string;
}

export class Started {
  readonly pid: number;
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Like `exited`, once all of its output has come, too. */
  readonly closed: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  #output = "";
  #ended = false;

  constructor(
    readonly name: string,
    child: ChildProcess,
  ) {
    this.#child = child;
    this.pid = child.pid ?? -1;
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString("utf8")).slice(-KEPT_OUTPUT);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    running.add(this);
    this.exited = new Promise((resolve) => {
      const done = (result: number | NodeJS.Signals) => {
        this.#ended = true;
        running.delete(this);
        resolve(result);
      };
      child.once("error", (error) => {
        this.#output += `\n${error.message}`;
        done(-1);
      });
      child.once("exit", (code, signal) => done(signal ?? code ?? -1));
    });
    this.closed = new Promise((resolve) => {
      child.once("error", () => resolve(-1));
      child.once("close", (code, signal) => resolve(signal ?? code ?? -1));
    });
  }

  /** The end of what it wrote to stdout and stderr. */
  get output(): string {
    return this.#output;
  }

  get alive(): boolean {
    return !this.#ended;
  }

  get stdin(): ChildProcess["stdin"] {
    return this.#child.stdin;
  }

  get stdout(): ChildProcess["stdout"] {
    return this.#child.stdout;
  }

  /** Sends a signal, unless it has ended. */
  signal(signal: NodeJS.Signals): void {
    if (!this.#ended && this.pid > 0) this.#child.kill(signal);
  }

  /** `kill -9`, and waits until it is gone and its output has come. Works on a stopped process, too. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await awake(this.closed);
  }
}

/** util-linux; it becomes the program itself (exec), so the pid is the program's. */
const SETPRIV = process.platform === "linux" ? which("setpriv") : undefined;

/**
 * Starts a program with its output collected. It is killed at the latest when this process ends, on Linux even where
 * that is by `kill -9`.
 */
export function start(command: string, args: readonly string[], options: StartOptions = {}): Started {
  const { name = command, ...rest } = options;
  const [program, programArgs] = SETPRIV
    ? [SETPRIV, ["--pdeathsig", "KILL", "--", command, ...args]]
    : [command, [...args]];
  const child = spawn(program, programArgs, { stdio: ["pipe", "pipe", "pipe"], ...rest });
  // A child that never started has no one to write to; its `error` event tells why.
  child.stdin?.on("error", () => undefined);
  // A test that has ended must not hang on a child that it forgot: the exit handler below ends the child.
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    if (stream && "unref" in stream && typeof stream.unref === "function") stream.unref();
  }
  return new Started(name, child);
}

/** Runs a program to its end. Throws with its output unless it exits with 0. */
export async function run(command: string, args: readonly string[], options: StartOptions = {}): Promise<string> {
  const started = start(command, args, options);
  const result = await awake(started.closed);
  if (result !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${result}:\n${started.output}`);
  return started.output;
}

/** `start` lets this process end without its children; while somebody waits for one, it must not. */
async function awake<T>(waiting: Promise<T>): Promise<T> {
  const timer = setInterval(() => undefined, 1_000);
  try {
    return await waiting;
  } finally {
    clearInterval(timer);
  }
}

/** Kills everything that was started here and still runs. */
export async function killAll(): Promise<void> {
  await Promise.all([...running].map((one) => one.kill()));
}

process.once("exit", () => {
  for (const one of running) one.signal("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const one of running) one.signal("SIGKILL");
    process.kill(process.pid, signal);
  });
}
