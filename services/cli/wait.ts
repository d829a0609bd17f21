import { setTimeout as timer } from "node:timers/promises";
import { monotonicMs } from "#lib/clock.js";
import { ask } from "./http.js";

/** Resolves after `ms` milliseconds, or at once when `signal` aborts. Unlike `pause` it keeps the process alive. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await timer(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Aborted: nothing else can reject it.
  }
}

export interface UntilOptions {
  /** Gives up after so long, in milliseconds. */
  readonly timeoutMs: number;
  /** Between two looks. Default 25. */
  readonly everyMs?: number;
  readonly signal?: AbortSignal;
}

/** Looks until `condition` holds. False when the time is up or `signal` aborts first. */
export async function until(condition: () => boolean | Promise<boolean>, options: UntilOptions): Promise<boolean> {
  const deadline = monotonicMs() + options.timeoutMs;
  for (;;) {
    if (await condition()) return true;
    if (monotonicMs() >= deadline || options.signal?.aborted) return false;
    await sleep(options.everyMs ?? 25, options.signal);
  }
}

/** Whether `GET url` is answered with a status of 2xx within a second. `ca`: the authorities behind an https one, in PEM. */
export async function answers(url: string, ca?: string): Promise<boolean> {
  try {
    const request = { method: "GET", headers: {}, timeoutMs: 1_000 };
    const { status } = await ask(new URL(url), { ...request, ...(ca === undefined ? {} : { ca }) });
    return status >= 200 && status <= 299;
  } catch {
    return false;
  }
}
