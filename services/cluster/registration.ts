import { z } from "zod";
import type { Compare, Entry, Operation, Transaction } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { type ProcessStatus, parseIncarnation } from "#lib/incarnation.js";
import type { NodeIdentity } from "./contract.js";

/** Who holds a slot or a name: the value of both keys, and part of `nodes/<id>`. */
const holderSchema = z.object({ id: z.string(), name: z.string(), slot: z.number(), incarnation: z.string() });
export type Holder = z.infer<typeof holderSchema>;

/** A slot's number has digits only, so a name's claim can't be taken for one. */
export function nameClaim(name: string): string {
  return keys.slotName(name);
}

/** The three keys that make a node unique, in the order in which conflicts are reported. */
export function claimKeys(identity: NodeIdentity): readonly string[] {
  return [keys.node(identity.id), keys.slot(identity.slot), nameClaim(identity.name)];
}

export interface RegistrationSituation {
  readonly identity: NodeIdentity;
  /** What lies under `claimKeys`, in that order. */
  readonly held: readonly (Entry | undefined)[];
  readonly statusOf: (incarnation: string) => ProcessStatus;
  /** Incarnations that this process itself registered, or tried to: not another process's. */
  readonly ours: ReadonlySet<string>;
  /** True for the first registration of a process, which may take over from a former life of its node. */
  readonly first: boolean;
}

export type RegistrationPlan =
  /** Claims that must still be as they were, and owners that are certainly dead. */
  | { readonly register: true; readonly compare: readonly Compare[]; readonly deadOwners: readonly string[] }
  /** Wait: the holder may be about to end. After some time it's a conflict. */
  | { readonly register: false; readonly conflict: string };

/**
 * Whether this node may take its claims now. Invariant: a claim held by another node id is never taken; one held under
 * the own id is taken from a process that is gone, or that can't be told alive when this one starts (its lease runs out
 * by itself), never from one that lives, and never back from one that took over meanwhile: two processes with one id
 * would take it from each other for ever.
 */
export function planRegistration(situation: RegistrationSituation): RegistrationPlan {
  const { identity, held, ours, first } = situation;
  const compare: Compare[] = [];
  const deadOwners = new Set<string>();
  for (const [at, key] of claimKeys(identity).entries()) {
    const entry = held[at];
    if (entry === undefined) {
      compare.push({ key, is: "absent" });
      continue;
    }
    compare.push({ key, is: "modified-at", revision: entry.modRevision });
    const holder = parseHolder(entry.value);
    // What isn't a claim of ours at all was put there by hand; it's in the way of nobody.
    if (holder === undefined) continue;
    if (holder.id !== identity.id) return { register: false, conflict: describeConflict(identity, holder) };
    if (ours.has(holder.incarnation)) continue;
    const status = situation.statusOf(holder.incarnation);
    if (status === "gone") deadOwners.add(holder.incarnation);
    else if (status === "alive" || !first) return { register: false, conflict: describeDouble(identity, holder) };
  }
  return { register: true, compare, deadOwners: [...deadOwners] };
}

/** The one transaction that begins an incarnation: all of its keys, on its lease, or none. */
export function registration(
  identity: NodeIdentity,
  incarnation: string,
  lease: string,
  record: string,
  plan: Extract<RegistrationPlan, { register: true }>,
): Transaction {
  const holder: Holder = { id: identity.id, name: identity.name, slot: identity.slot, incarnation };
  const claim = JSON.stringify(holder);
  const apply: Operation[] = [
    { put: keys.node(identity.id), value: record, lease },
    { put: keys.slot(identity.slot), value: claim, lease },
    { put: nameClaim(identity.name), value: claim, lease },
    { put: keys.owner(incarnation), value: "0", lease },
    // Attested dead: their unfinished work can be taken over now, not when their lease runs out.
    ...plan.deadOwners.map((dead) => ({ delete: keys.owner(dead) })),
  ];
  return { compare: [...plan.compare, { key: keys.owner(incarnation), is: "absent" }], apply };
}

export function parseHolder(value: string): Holder | undefined {
  try {
    const parsed = holderSchema.safeParse(JSON.parse(value));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

function describeConflict(identity: NodeIdentity, holder: Holder): string {
  const what = holder.slot === identity.slot ? `slot ${identity.slot}` : `name "${identity.name}"`;
  const setting = holder.slot === identity.slot ? "slot" : "name";
  return `the ${what} belongs to another node, "${holder.name}" (id ${holder.id}, slot ${holder.slot}); give this node a "${setting}" of its own`;
}

function describeDouble(identity: NodeIdentity, holder: Holder): string {
  const pid = parseIncarnation(holder.incarnation)?.pid;
  return `another process (pid ${pid ?? "unknown"}) already runs as node "${holder.name}" with this node's id ${identity.id}; stop it, or, if this data directory is a copy, delete node-id in it`;
}
