import type { Worker } from "node:worker_threads";

/** The threads that check passwords, as the process hears of them: what ends one here ends a real one. */

const running = new Set<Worker>();
let spoil: ((thread: Worker) => void) | undefined;

process.on("worker", (thread) => {
  running.add(thread);
  thread.once("exit", () => running.delete(thread));
  spoil?.(thread);
});

/** Ends all that run, whatever they are at. */
export async function endThreads(): Promise<void> {
  await Promise.all([...running].map((thread) => thread.terminate()));
}

/** What becomes of every thread that begins from now on, right after its first task was handed to it; undefined: nothing. */
export function spoilThreads(how: ((thread: Worker) => void) | undefined): void {
  spoil = how;
}

/** Takes more memory than such a thread may have. */
export function starve(thread: Worker): void {
  thread.postMessage(Array.from({ length: 1_000_000 }, (_, index) => [index, `${index}`]));
}
