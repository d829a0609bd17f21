import type { Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { APPEND_ONLY, type Item, OF_THE_STORAGE } from "./contents.js";

/** What a restore would do, by store key. */
export interface Difference {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
  readonly unchanged: number;
  readonly operations: readonly Operation[];
}

/**
 * From the entries that are there to those that shall be. Pure. Invariants: an entry that is the same isn't touched, so
 * that whoever uses it notices nothing; what tells of the past is added to and never taken away; puts come before
 * deletions, in the order of `target`.
 */
export function differenceOf(current: readonly Entry[], target: readonly Item[]): Difference {
  const before = new Map(current.map((entry) => [entry.key, entry.value]));
  const wanted = new Set(target.map(([key]) => key));
  const added: string[] = [];
  const changed: string[] = [];
  const operations: Operation[] = [];
  for (const [key, value] of target) {
    const now = before.get(key);
    if (now === value || (now !== undefined && isAppendOnly(key))) continue;
    (now === undefined ? added : changed).push(key);
    operations.push({ put: key, value });
  }
  const removed = [...before.keys()].filter((key) => !wanted.has(key) && !isAppendOnly(key));
  for (const key of removed) operations.push({ delete: key });
  return { added, changed, removed, unchanged: wanted.size - added.length - changed.length, operations };
}

/**
 * The target for this site: its own id stays, since the storage carries it, unless the backup's id is asked for; what tells of another site's storage stays out. Throws
 * SyntaxError where the settings aren't JSON.
 */
export function forSite(target: readonly Item[], siteId: string | undefined): readonly Item[] {
  const text = target.find(([key]) => key === keys.site)?.[1];
  if (siteId === undefined || text === undefined) return target;
  const settings = JSON.parse(text) as Record<string, unknown>;
  if (settings.id === siteId) return target;
  return target
    .filter(([key]) => !OF_THE_STORAGE.some((prefix) => key.startsWith(prefix)))
    .map(([key, value]) => (key === keys.site ? [key, JSON.stringify({ ...settings, id: siteId })] : [key, value]));
}

/** Operations in groups that one transaction takes, in their order. */
export function batches(
  operations: readonly Operation[],
  most: { readonly operations: number; readonly bytes: number },
): Operation[][] {
  const groups: Operation[][] = [];
  let group: Operation[] = [];
  let bytes = 0;
  for (const operation of operations) {
    const size = sizeOf(operation);
    if (group.length > 0 && (group.length >= most.operations || bytes + size > most.bytes)) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    group.push(operation);
    bytes += size;
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

/** Rough bytes on the wire. */
const FRAMING_BYTES = 64;

function sizeOf(operation: Operation): number {
  if ("put" in operation) return Buffer.byteLength(operation.put) + Buffer.byteLength(operation.value) + FRAMING_BYTES;
  return Buffer.byteLength("delete" in operation ? operation.delete : operation.deletePrefix) + FRAMING_BYTES;
}

function isAppendOnly(key: string): boolean {
  return APPEND_ONLY.some((prefix) => key.startsWith(prefix));
}
