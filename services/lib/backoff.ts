import { pause } from "./clock.js";

export interface BackoffOptions {
  /** Longest first wait, in milliseconds. Default 100. */
  readonly firstMs?: number;
  /** Longest wait, in milliseconds. Default 2,000. */
  readonly mostMs?: number;
}

/** Waits that double from one failure to the next, with jitter so that many nodes don't come back in step. */
export interface Backoff {
  /** How many waits since the last `reset`. */
  readonly failures: number;
  /** Resolves after the next wait, or at once when `signal` aborts. */
  wait(signal?: AbortSignal): Promise<void>;
  reset(): void;
}

export function createBackoff(options: BackoffOptions = {}): Backoff {
  const firstMs = options.firstMs ?? 100;
  const mostMs = options.mostMs ?? 2_000;
  let failures = 0;
  return {
    get failures() {
      return failures;
    },
    wait(signal) {
      const longest = Math.min(mostMs, firstMs * 2 ** Math.min(failures, 20));
      failures++;
      return pause(longest * (0.5 + Math.random() / 2), signal);
    },
    reset() {
      failures = 0;
    },
  };
}
