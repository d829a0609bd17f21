import { monotonicMs } from "#lib/clock.js";

/** Lines per window, and the window's length in milliseconds. */
const LINES = 20;
const WINDOW_MS = 10_000;

/**
 * Lets the first 20 lines of each 10 s through and counts the rest, so that a stranger who opens thousands of connections
 * can't fill the log's disk. Returns undefined where the line is to be swallowed, else the fields to add to it.
 */
export function createLogThrottle(): () => { readonly suppressedBefore?: number } | undefined {
  let windowStart = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let suppressed = 0;
  return () => {
    const now = monotonicMs();
    if (now - windowStart >= WINDOW_MS) {
      windowStart = now;
      lines = 0;
    }
    if (++lines > LINES) {
      suppressed++;
      return undefined;
    }
    const fields = suppressed > 0 ? { suppressedBefore: suppressed } : {};
    suppressed = 0;
    return fields;
  };
}
