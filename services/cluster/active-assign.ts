import { z } from "zod";
import type { Coordination, Entry } from "#coordination/contract.js";
import { LeaseGoneError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { ACTIVE_CHANGES, type ActiveChange, type ActiveHolder } from "./active-decide.js";
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

/** `changed`: the holder isn't the one that was given any more. `unwell`: the node is gone, or isn't well any more. */
export type AssignmentOutcome = "done" | "changed" | "unwell";

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
  if (entry?.lease === undefined || node === undefined || !isWell(node.state)) return "unwell";
  const owner = await coordination.get(keys.owner(node.incarnation));
  if (owner?.lease !== entry.lease) return "unwell";
  const expected =
    held === undefined
      ? ({ key: keys.active, is: "absent" } as const)
      : ({ key: keys.active, is: "modified-at", revision: held.generation } as const);
  try {
    const result = await coordination.transact({
      compare: [expected, { key: keys.owner(node.incarnation), is: "created-at", revision: owner.createRevision }],
      apply: [{ put: keys.active, value: activeRecord(node, how, held?.name), lease: owner.lease }],
    });
    if (result.applied) return "done";
    return result.found[1]?.[0]?.createRevision === owner.createRevision ? "changed" : "unwell";
  } catch (error) {
    if (error instanceof LeaseGoneError) return "unwell";
    throw error;
  }
}
