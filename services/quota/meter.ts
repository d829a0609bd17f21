import type { Meter, UsageChange } from "#commit/usage.js";
import type { ConfigView } from "#config/contract.js";
import { effectiveAccount } from "#config/effective.js";
import type { Effect, FileStat, Store } from "#storage/contract.js";
import { holdsPlace, limitsOf, meteredPlaces, placesAbove } from "./limits.js";

export interface MeterOptions {
  readonly config: ConfigView;
  readonly store: Pick<Store, "find">;
}

/** What a change means for the folders with a quota. Without such folders it costs nothing. */
export function createMeter({ config, store }: MeterOptions): Meter {
  const sizeAt = async (path: string): Promise<number> => fileSize(await store.find(path));

  return async ({ effect, account, size = 0 }) => {
    const snapshot = config.snapshot();
    const places = meteredPlaces(snapshot);
    if (places.size === 0) return [];
    const to = placesAbove(places, effect.path);
    const changes = await changesOf(effect, size, to, places, { find: (path) => store.find(path), sizeAt });
    if (!changes.some(({ added, removed }) => added > removed)) return changes;
    const who = effectiveAccount(snapshot, account);
    const limits = who === undefined ? [] : limitsOf(who, effect.path);
    return changes.map((change) => ({ ...change, limit: limits.find(({ target }) => target === change.target) }));
  };
}

interface Looks {
  find(path: string): Promise<FileStat | undefined>;
  sizeAt(path: string): Promise<number>;
}

async function changesOf(
  effect: Effect,
  size: number,
  to: readonly string[],
  places: ReadonlyMap<string, unknown>,
  { find, sizeAt }: Looks,
): Promise<readonly UsageChange[]> {
  switch (effect.kind) {
    case "mkdir":
    case "rmdir":
      return [];
    case "upload": {
      if (to.length === 0) return [];
      const removed = await sizeAt(effect.path);
      return to.map((target) => ({ target, added: size, removed }));
    }
    case "remove": {
      if (to.length === 0) return [];
      const removed = await sizeAt(effect.path);
      return removed === 0 ? [] : to.map((target) => ({ target, added: 0, removed }));
    }
    case "link": {
      if (to.length === 0) return [];
      const added = await sizeAt(effect.from);
      return to.map((target) => ({ target, added, removed: 0 }));
    }
    case "rename": {
      const from = placesAbove(places, effect.from);
      const moved = await find(effect.from);
      // places that leave with it, and such that come with it
      const inside =
        moved?.type === "directory" ? [effect.from, effect.path].flatMap((path) => holdsPlace(places, path)) : [];
      const touched = new Set([...from, ...to, ...inside]);
      if (touched.size === 0) return [];
      if (moved?.type === "directory") {
        // nobody knows how much is in it without a walk: where it crosses a border, the place is counted anew
        return [...touched].map((target) => ({
          target,
          added: 0,
          removed: 0,
          moves: true,
          unknown: !(from.includes(target) && to.includes(target)),
        }));
      }
      const bytes = fileSize(moved);
      const replaced = effect.replace ? await sizeAt(effect.path) : 0;
      return [...touched].map((target) => ({
        target,
        added: to.includes(target) ? bytes : 0,
        removed: (from.includes(target) ? bytes : 0) + (to.includes(target) ? replaced : 0),
        moves: from.includes(target) && to.includes(target),
      }));
    }
  }
}

function fileSize(stat: FileStat | undefined): number {
  return stat?.type === "file" ? stat.size : 0;
}
