/** Milliseconds that never go backwards and know nothing of the wall clock: the only clock for deadlines and leases. */
export function monotonicMs(): number {
  return performance.now();
}

/**
 * Resolves after `ms` milliseconds, or at once when one of `signals` aborts (it never rejects). Keeps no process alive. Several
 * signals are heard one by one: each `AbortSignal.any` would stay with its longest-lived one for good (Node 20).
 */
export function pause(ms: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve) => {
    if (signals.some((signal) => signal?.aborted)) {
      resolve();
      return;
    }
    const finish = () => {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    timer.unref();
    for (const signal of signals) signal?.addEventListener("abort", finish);
  });
}

/** A limit to something that waits in the same place. */
export interface Deadline {
  /** Resolves when the time is up; never after `clear`. */
  readonly passed: Promise<"late">;
  clear(): void;
}

/** Like `pause`, for what happens with each file: aborting a signal makes an error with a stack, a timer is cleared for nothing. */
export function deadline(ms: number): Deadline {
  let timer: NodeJS.Timeout | undefined;
  const passed = new Promise<"late">((resolve) => {
    timer = setTimeout(resolve, ms, "late");
    timer.unref();
  });
  return { passed, clear: () => clearTimeout(timer) };
}
