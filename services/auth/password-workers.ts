import { Worker } from "node:worker_threads";
import type { Options } from "@node-rs/argon2";
import { LongshoreError } from "#lib/errors.js";

export type PasswordTask =
  | { readonly kind: "verify"; readonly hash: string; readonly password: Uint8Array }
  | { readonly kind: "hash"; readonly options: Options; readonly password: Uint8Array };

export type PasswordAnswer =
  | { readonly matches: boolean; readonly hash?: undefined; readonly error?: undefined }
  | { readonly hash: string; readonly matches?: undefined; readonly error?: undefined }
  | { readonly error: string; readonly matches?: undefined; readonly hash?: undefined };

const ENTRY = new URL("./password-worker.js", import.meta.url);
/** A thread of ours holds nothing but its task; argon2's own memory isn't JavaScript's. */
const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

/**
 * Threads for argon2 alone. On libuv's pool, four threads that each write, fsync and stat needs too, a storm of logins made
 * commits wait behind tens of milliseconds of hashing. Callers bound how many tasks run at once: there are as many threads as that.
 */
export class PasswordWorkers {
  readonly #idle: Worker[] = [];

  /** Rejects with `io` where the thread ended. Never keeps the process alive but for a task that runs. */
  async run(task: PasswordTask): Promise<PasswordAnswer> {
    const worker = this.#idle.pop() ?? this.#start();
    worker.ref();
    try {
      const answer = await once(worker, task);
      this.#idle.push(worker);
      return answer;
    } catch (error) {
      void worker.terminate();
      throw new LongshoreError("io", "the thread that checks passwords ended", error);
    } finally {
      worker.unref();
    }
  }

  #start(): Worker {
    const worker = new Worker(ENTRY, { resourceLimits: LIMITS, env: {}, execArgv: [] });
    // one that ends while it is idle is only taken off; its task, where it has one, hears it by itself
    worker.on("error", () => this.#drop(worker));
    worker.on("exit", () => this.#drop(worker));
    return worker;
  }

  #drop(worker: Worker): void {
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}

function once(worker: Worker, task: PasswordTask): Promise<PasswordAnswer> {
  return new Promise((resolve, reject) => {
    const done = () => {
      worker.off("message", onMessage);
      worker.off("error", onError);
      worker.off("exit", onExit);
    };
    const onMessage = (answer: PasswordAnswer) => {
      done();
      resolve(answer);
    };
    const onError = (error: unknown) => {
      done();
      reject(error);
    };
    const onExit = () => onError(new Error("it exited"));
    worker.on("message", onMessage);
    worker.on("error", onError);
    worker.on("exit", onExit);
    worker.postMessage(task);
  });
}
