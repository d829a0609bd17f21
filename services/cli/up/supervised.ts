import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { monotonicMs } from "#lib/clock.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { sleep } from "../wait.js";
import { lastLines } from "./logs.js";
import { killGroup, recordOf, removeRecord, writeRecord } from "./process-record.js";

/** What to run, and how to treat it. */
export interface ProcessSpec {
  readonly name: string;
  readonly program: string;
  readonly arguments: readonly string[];
  readonly directory: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number;
  /** Started again whenever it ends, once the site is up. */
  readonly restart: boolean;
}

/** The first restart waits so long, each next one twice as long up to the longest; a life of STABLE_MS starts over. */
export const FIRST_RESTART_MS = 100;
export const LONGEST_RESTART_MS = 5_000;
export const STABLE_MS = 10_000;

/** How long to wait before the next start, from the last wait (0: none yet) and how long the process then lived. */
export function nextRestartMs(lastWaitMs: number, livedMs: number): number {
  if (lastWaitMs === 0 || livedMs >= STABLE_MS) return FIRST_RESTART_MS;
  return Math.min(lastWaitMs * 2, LONGEST_RESTART_MS);
}

/** What a process tells the site that runs it. */
export interface ProcessEvents {
  /** Started, or ended: `pid` has changed. */
  readonly changed: () => void;
  readonly log: (message: string) => void;
}

/**
 * A process of the site: started, watched, started again. Its output goes straight into its log file, so it neither
 * stops nor loses a line when its supervisor dies.
 */
export class SupervisedProcess {
  readonly spec: ProcessSpec;
  readonly #run: string;
  readonly #events: ProcessEvents;
  readonly #stopping = new AbortController();
  #child: ChildProcess | undefined;
  /** Settles when the current life is over. */
  #ended: Promise<string> = Promise.resolve("not started");
  #restarting: Promise<void> = Promise.resolve();
  #lastWaitMs = 0;
  /** Until then an end is a failed start, which whoever waits for `endedEarly` reports. */
  #keepAlive = false;

  constructor(spec: ProcessSpec, run: string, events: ProcessEvents) {
    this.spec = spec;
    this.#run = run;
    this.#events = events;
  }

  /** Undefined while it isn't running. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  start(): void {
    const { name, program, logFile } = this.spec;
    const startedAt = monotonicMs();
    const output = openSync(logFile, "a", 0o600);
    let child: ChildProcess;
    try {
      child = spawn(program, this.spec.arguments, {
        cwd: this.spec.directory,
        env: this.spec.env,
        stdio: ["ignore", output, output],
        // A process group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then stops all in order.
        detached: true,
      });
    } finally {
      closeSync(output);
    }
    this.#child = child;
    // At once and synchronously: a supervisor killed after this line leaves nothing that `down` can't find.
    const record = child.pid === undefined ? undefined : recordOf(name, child.pid, this.spec.graceMs);
    if (record !== undefined) writeRecord(this.#run, record);
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
    });
    void this.#ended.then((reason) => this.#onEnd(child, reason, monotonicMs() - startedAt));
    this.#events.changed();
  }

  /** From now on an end is followed by a new start, where the spec says so. */
  keepAlive(): void {
    this.#keepAlive = true;
    // It may have ended just before.
    if (this.#child === undefined && this.spec.restart) this.#restarting = this.#startAgain(0);
  }

  /** Rejects, with the end of its log, when the process ends before the site is up. */
  async endedEarly(): Promise<never> {
    const reason = await this.#ended;
    const { name, logFile } = this.spec;
    throw new CliError(EXIT.failed, `${name} ended (${reason}). The end of ${logFile}:\n${lastLines(logFile)}`);
  }

  /** Ends it: SIGTERM, then SIGKILL after the grace or when `hurry` aborts. Idempotent. */
  async stop(hurry?: AbortSignal): Promise<void> {
    this.#stopping.abort();
    await this.#restarting;
    const child = this.#child;
    if (child?.pid === undefined) return;
    child.kill("SIGTERM");
    // One stopped by SIGSTOP would never see the SIGTERM.
    child.kill("SIGCONT");
    const over = new AbortController();
    const grace = AbortSignal.any([over.signal, ...(hurry === undefined ? [] : [hurry])]);
    const inTime = await Promise.race([this.#ended.then(() => true), sleep(this.spec.graceMs, grace)]);
    over.abort();
    if (inTime === true) return;
    this.#events.log(`${this.spec.name} didn't end within its grace and is killed`);
    killGroup(child.pid);
    await this.#ended;
  }

  #onEnd(child: ChildProcess, reason: string, livedMs: number): void {
    // As a container engine does: what it forked ends with it. Nobody else can have got its group's id yet.
    if (child.pid !== undefined) killGroup(child.pid);
    this.#child = undefined;
    removeRecord(this.#run, this.spec.name);
    if (this.#stopping.signal.aborted) return;
    this.#events.log(`${this.spec.name} (process ${child.pid}) ended: ${reason}`);
    this.#events.changed();
    if (this.#keepAlive && this.spec.restart) this.#restarting = this.#startAgain(livedMs);
  }

  async #startAgain(livedMs: number): Promise<void> {
    for (let lived = livedMs; ; lived = 0) {
      this.#lastWaitMs = nextRestartMs(this.#lastWaitMs, lived);
      await sleep(this.#lastWaitMs, this.#stopping.signal);
      if (this.#stopping.signal.aborted) return;
      try {
        this.start();
        this.#events.log(`${this.spec.name} was started again as process ${this.pid}`);
        return;
      } catch (error) {
        // A full disk or too few file descriptors may pass, too.
        this.#events.log(`${this.spec.name} can't be started: ${messageOf(error)}`);
      }
    }
  }
}
