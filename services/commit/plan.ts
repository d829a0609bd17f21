import type { Compare, Entry, Operation, TransactionResult } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { Effect } from "#storage/contract.js";
import type { UsageChange } from "./usage.js";

/** The pure part of the group commit: what each operation claims, which ones fit into one transaction, who is in the way. */

/** One operation on its way into a transaction group. */
export interface Intent {
  readonly id: string;
  readonly store: string;
  readonly effect: Effect;
  /** The record to put at `ops/<id>`. */
  readonly record: string;
  /** What it does to the counters of folders with a quota. */
  readonly usage?: readonly UsageChange[];
}

/** The paths that an effect needs for itself. */
export function claimsOf(effect: Effect): readonly string[] {
  return effect.kind === "rename" ? [effect.from, effect.path] : [effect.path];
}

/** Directories whose whole content must be at rest. A rename may be one of a directory. */
function subtreesOf(effect: Effect): readonly string[] {
  if (effect.kind === "rmdir") return [effect.path];
  return effect.kind === "rename" ? [effect.from] : [];
}

export function ancestorsOf(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

export function comparesOf(intent: Intent): readonly Compare[] {
  const claims = claimsOf(intent.effect);
  const names = new Set([...claims, ...claims.flatMap(ancestorsOf)]);
  return [
    { key: keys.op(intent.id), is: "absent" },
    ...[...names].map((path): Compare => ({ key: keys.name(intent.store, path), is: "absent" })),
    ...subtreesOf(intent.effect).map((path): Compare => ({ prefix: keys.namesBelow(intent.store, path), is: "empty" })),
  ];
}

export function operationsOf(intent: Intent): readonly Operation[] {
  return [
    { put: keys.op(intent.id), value: intent.record },
    ...claimsOf(intent.effect).map((path): Operation => ({ put: keys.name(intent.store, path), value: intent.id })),
  ];
}

/** Deletes what `operationsOf` put. */
export function releaseOf(id: string, store: string, effect: Effect): readonly Operation[] {
  return [{ delete: keys.op(id) }, ...claimsOf(effect).map((path): Operation => ({ delete: keys.name(store, path) }))];
}

/** Whether two operations can't be in flight together: one claims the other's path, or a directory above it. */
export function collide(a: Intent, b: Intent): boolean {
  return a.store === b.store && meet(a.effect, b.effect);
}

export function meet(a: Effect, b: Effect): boolean {
  return claimsOf(a).some((one) => claimsOf(b).some((other) => related(one, other)));
}

export function related(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`);
}

/**
 * The first intents, in order, that may go into one transaction. Invariant: they are path-disjoint (compares are judged
 * before any put, so two that collide would both pass), and an intent never overtakes one that it collides with.
 */
export function chooseGroup<T extends Intent>(queue: readonly T[], maxOperations: number, most: number): readonly T[] {
  const chosen: T[] = [];
  const passed: T[] = [];
  let operations = 1; // the fence
  for (const intent of queue) {
    const counters = intent.usage?.length ?? 0;
    const size = Math.max(comparesOf(intent).length, operationsOf(intent).length) + counters;
    const blocked = [...chosen, ...passed].some((other) => collide(other, intent));
    if (blocked || operations + size > maxOperations || chosen.length >= most) {
      passed.push(intent);
      if (passed.length > 2 * most) break;
      continue;
    }
    operations += size;
    chosen.push(intent);
  }
  return chosen;
}

/** Of a group whose compares failed: what each intent met, by the order in which the compares were put together. */
export function blockersOf(
  group: readonly Intent[],
  result: TransactionResult & { applied: false },
): ReadonlyMap<string, readonly Entry[]> {
  const blockers = new Map<string, readonly Entry[]>();
  let index = 1; // behind the fence
  for (const intent of group) {
    const count = comparesOf(intent).length;
    const met = result.found.slice(index, index + count).flat();
    if (met.length > 0) blockers.set(intent.id, met);
    index += count;
  }
  return blockers;
}
