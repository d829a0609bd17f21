import type { EffectiveAccount } from "#config/effective.js";
import type { Folder } from "#config/fields.js";

/** Which places have a quota, and whom it binds. Pure. */

/** A limit as one account meets it. */
export interface Limit {
  /** The place, relative to the storage root. */
  readonly target: string;
  readonly bytes: number;
  /** Where the account sees it. */
  readonly folder: string;
}

interface Configured {
  readonly accounts: ReadonlyMap<string, { readonly folders: readonly Folder[] }>;
  readonly groups: ReadonlyMap<string, { readonly folders: readonly Folder[] }>;
}

const found = new WeakMap<object, ReadonlyMap<string, number>>();

/** All places with a quota, and the smallest one that any folder sets there. One look at each snapshot. */
export function meteredPlaces(snapshot: Configured): ReadonlyMap<string, number> {
  const known = found.get(snapshot);
  if (known !== undefined) return known;
  const places = new Map<string, number>();
  for (const owners of [snapshot.groups, snapshot.accounts]) {
    for (const { folders } of owners.values()) {
      for (const { target, quotaBytes } of folders) {
        if (quotaBytes !== undefined) places.set(target, Math.min(quotaBytes, places.get(target) ?? quotaBytes));
      }
    }
  }
  found.set(snapshot, places);
  return places;
}

/** The places that a physical path lies below: a quota of an outer one counts what lies in an inner one, too. */
export function placesAbove(places: ReadonlyMap<string, unknown>, path: string): readonly string[] {
  if (places.size === 0) return [];
  const above: string[] = [];
  for (let slash = path.indexOf("/"); slash >= 0; slash = path.indexOf("/", slash + 1)) {
    const place = path.slice(0, slash);
    if (places.has(place)) above.push(place);
  }
  return above;
}

/** Whether a place lies at a physical path or below it. */
export function holdsPlace(places: ReadonlyMap<string, unknown>, path: string): readonly string[] {
  return [...places.keys()].filter((place) => place === path || place.startsWith(`${path}/`));
}

/**
 * The quotas that bind an account at a physical path: of its own and its groups' folders that this lies in. Others' quotas of
 * the same place count its files, and don't bind it.
 */
export function limitsOf(account: Pick<EffectiveAccount, "folders">, path: string): readonly Limit[] {
  const limits = new Map<string, Limit>();
  for (const { target, quotaBytes, path: folder } of account.folders) {
    if (quotaBytes === undefined || !path.startsWith(`${target}/`)) continue;
    const other = limits.get(target);
    if (other === undefined || quotaBytes < other.bytes) limits.set(target, { target, bytes: quotaBytes, folder });
  }
  return [...limits.values()];
}
