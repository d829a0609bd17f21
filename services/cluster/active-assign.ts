import { z } from "zod";
import type { Coordination, Entry } from "#coordination/contract.js";
import { LeaseGoneError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { ACTIVE_CHANGES, type ActiveChange, type ActiveHolder } from "./active-decide.js";
import type { NodeRecord } from "./contract.js";
import { isWell } from "./decide.js";
import { decodeMembers } from "./members.js";

/** Not strict: during an upgrade newer nodes say more than older ones know. */
const recordSchema = z.object({
  incarnation: z.string(),
  id: z.string(),
  name: z.string(),
  since: z.number(),
  how: z.enum(ACTIVE_CHANGES).catch("takeover"),
  from: z.string().optional(),
});

/** Who holds the key `active`; undefined where nobody does, or the entry can't be read (its lease ends it). */
export function holderIn(entry: Entry | undefined): ActiveHolder | undefined {
  if (entry === undefined) return undefined;
  try {
    return { ...recordSchema.parse(JSON.parse(entry.value)), generation: entry.modRevision };
  } catch {
    return undefined;
  }
}

/** The key's value. */
export function activeRecord(
  node: { readonly incarnation: string; readonly id: string; readonly name: string },
  how: ActiveChange,
  from: string | undefined,
): string {
  const { incarnation, id, name } = node;
  return JSON.stringify({ incarnation, id, name, since: Date.now(), how, ...(from === undefined ? {} : { from }) });
}

export interface Assignment {
  /** Who holds the key now, as the store said; undefined: nobody. */
  readonly held: Pick<ActiveHolder, "generation" | "name"> | undefined;
  /** A node's id. */
  readonly to: string;
  readonly how: ActiveChange;
}

/**
 * `changed`: the holder isn't the one that was given any more. `unwell`: the node isn't well, by its own last word `node`, or
 * is gone where there is none.
 */
export type AssignmentOutcome =
  | { readonly is: "done" | "changed" }
  | { readonly is: "unwell"; readonly node: NodeRecord | undefined };

const GONE: AssignmentOutcome = { is: "unwell", node: undefined };

/**
 * Gives the key to another node, in one transaction and on that node's own lease, so that there is no moment without a
 * holder. What that node says of itself is read anew: what a view of the members shows may be older than a drain of all
 * nodes, and they would pass the key round. Throws `StoreUnavailableError`, `OutcomeUnknownError` (read the key to see).
 */
export async function assignActive(
  coordination: Coordination,
  { held, to, how }: Assignment,
): Promise<AssignmentOutcome> {
  const entry = await coordination.get(keys.node(to));
  const [node] = decodeMembers(entry === undefined ? [] : [entry]);
  if (entry?.lease === undefined || node === undefined) return GONE;
  if (!isWell(node.state)) return { is: "unwell", node };
  const owner = await coordination.get(keys.owner(node.incarnation));
  if (owner?.lease !== entry.lease) return GONE;
  const expected =
    held === undefined
      ? ({ key: keys.active, is: "absent" } as const)
      : ({ key: keys.active, is: "modified-at", revision: held.generation } as const);
  try {
    const result = await coordination.transact({
      compare: [expected, { key: keys.owner(node.incarnation), is: "created-at", revision: owner.createRevision }],
      apply: [{ put: keys.active, value: activeRecord(node, how, held?.name), lease: owner.lease }],
    });
    if (result.applied) return { is: "done" };
    return result.found[1]?.[0]?.createRevision === owner.createRevision ? { is: "changed" } : GONE;
  } catch (error) {
    if (error instanceof LeaseGoneError) return GONE;
    throw error;
  }
}
