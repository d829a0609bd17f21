import { monotonicMs } from "./clock.js";

/** What tests of all parts share. */

/**
 * Asks again until `probe` gives something truthy, and returns it; a probe that throws counts as "not yet". Throws past the
 * deadline (15 s unless told), with what is waited for and the last try's error.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  { deadlineMs = 15_000, everyMs = 20 }: { readonly deadlineMs?: number; readonly everyMs?: number } = {},
): Promise<Exclude<T, undefined | null | false | undefined>> {
  const deadline = monotonicMs() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value as Exclude<T, undefined | null | false | undefined>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (monotonicMs() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
