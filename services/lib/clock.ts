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
