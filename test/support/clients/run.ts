import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { MEASURED } from "../../runner/print.js";

/** What a client program did: everything a test may judge. */
export interface Outcome {
  readonly command: string;
  /** Null when it was ended by a signal. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
  /** The deadline passed and we killed it. */
  readonly timedOut: boolean;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  /** Milliseconds until the program is killed. Default 60,000. */
  readonly deadlineMs?: number;
}

/** A client program that runs. */
export interface Running {
  readonly process: ChildProcess;
  /** Never rejects but for a program that can't be started. */
  readonly outcome: Promise<Outcome>;
}

/** Bytes of each output that are kept; the rest of a chatty client is dropped. */
const KEPT_OUTPUT = 4 * 1024 * 1024;

export function start(command: string, args: readonly string[], options: RunOptions = {}): Running {
  const begun = performance.now();
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const out = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    const stream = child[name];
    stream?.setEncoding("utf8");
    stream?.on("data", (text: string) => {
      if (out[name].length < KEPT_OUTPUT) out[name] += text;
    });
  }
  if (options.input !== undefined) {
    child.stdin?.on("error", () => undefined); // a program that ends without reading: its exit code tells
    child.stdin?.end(options.input);
  }
  const outcome = new Promise<Outcome>((resolve, reject) => {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, options.deadlineMs ?? 60_000);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const ms = performance.now() - begun;
      resolve({ command: [command, ...args].join(" "), code, signal, ms, timedOut, ...out });
    });
  });
  return { process: child, outcome };
}

export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return start(command, args, options).outcome;
}

/** All that is known of an outcome, for an assertion's message. */
export function tell(outcome: Outcome): string {
  const end = outcome.timedOut ? "passed its deadline" : `ended with ${outcome.code ?? outcome.signal}`;
  return `${outcome.command}\n${end} after ${Math.round(outcome.ms)} ms\n--- stdout\n${outcome.stdout.slice(-4000)}\n--- stderr\n${outcome.stderr.slice(-4000)}`;
}

/** Throws with the whole output unless the program ended with exit code 0. */
export function succeeded(outcome: Outcome): Outcome {
  if (outcome.code !== 0) throw new Error(tell(outcome));
  return outcome;
}

/** Throws with the whole output unless the program ended by itself with an exit code that isn't 0. */
export function failed(outcome: Outcome): Outcome {
  if (outcome.code === 0 || outcome.timedOut) throw new Error(`should have failed: ${tell(outcome)}`);
  return outcome;
}

/** Rejects when `promise` doesn't settle in time; a hang then names itself. */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A measured figure or table. `npm test` prints it also where the test passes (runner/print.ts knows the mark). */
export function report(text: string): void {
  const lines = text.split("\n").filter((line) => line !== "");
  writeFileSync(2, lines.map((line) => `${MEASURED}${line}\n`).join(""));
}
