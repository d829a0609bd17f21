import { pause } from "#lib/clock.js";

/** Something that takes partners, is ended, and is there again as a new one. */
export interface Replaceable<T> {
  /** Undefined from the moment when its end began. */
  readonly current: T | undefined;
  /** Brings a new one where there is none. */
  begin(): void;
  /** Resolves when this one and every former one have ended, whoever began their end, or the time for it is up. */
  end(reason: string): Promise<void>;
}

/** There is one at once. `mostMs`: how long an end may take. */
export function createReplaceable<T extends { close(reason: string): Promise<void> }>(
  create: () => T,
  mostMs: number,
): Replaceable<T> {
  let current: T | undefined = create();
  const endings = new Set<Promise<unknown>>();
  return {
    get current() {
      return current;
    },
    begin() {
      current ??= create();
    },
    async end(reason) {
      const last = current;
      current = undefined;
      if (last !== undefined) {
        const ending = Promise.race([last.close(reason), pause(mostMs)]).finally(() => endings.delete(ending));
        endings.add(ending);
      }
      await Promise.all(endings);
    },
  };
}
