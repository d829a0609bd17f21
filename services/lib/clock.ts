/** Milliseconds that never go backwards and know nothing of the wall clock: the only clock for deadlines and leases. */
export function monotonicMs(): number {
  return performance.now();
}

/** Resolves after `ms` milliseconds, or at once when `signal` aborts (it never rejects). Keeps no process alive. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    timer.unref();
    signal?.addEventListener("abort", finish);
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
