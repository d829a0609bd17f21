import { randomUUID } from "node:crypto";
import type { Compare, Coordination, Entry, Operation, TransactionResult } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { type ChangeNote, changedKeys, recordOf, trimHistory } from "./history.js";
import { CONFIG_HEAD } from "./snapshot.js";

/** What a writer demands of the entry that it changes: not there yet, or unchanged since this revision. */
export type Expectation = "absent" | number;

export function expectationOf(key: string, expected: Expectation): Compare {
  return expected === "absent" ? { key, is: "absent" } : { key, is: "modified-at", revision: expected };
}

export interface WriteNote extends ChangeNote {
  /** The entries that are changed, as they were read; absent: read here. The compares must demand that they still are. */
  readonly before?: ReadonlyMap<string, Entry>;
  /** False: not in the history (what makes a site in the first place can't be rolled back). Default true. */
  readonly record?: boolean;
}

/**
 * The one way to change configuration: compare and set, moving the head with it, and recording what it replaced. Throws
 * `OutcomeUnknownError` only where reading the head doesn't settle it: somebody else wrote meanwhile, or the write may
 * still be on its way.
 */
export async function writeConfig(
  coordination: Coordination,
  compare: readonly Compare[],
  apply: readonly Operation[],
  note: WriteNote = {},
): Promise<TransactionResult> {
  const id = randomUUID();
  const before =
    note.record === false ? undefined : (note.before ?? (await entriesOf(coordination, changedKeys(apply))));
  const record = before && recordOf(apply, before, note);
  const operations = [...apply, { put: CONFIG_HEAD, value: id }, ...(record === undefined ? [] : [record])];
  try {
    const result = await coordination.transact({ compare, apply: operations });
    if (result.applied && record !== undefined) void trimHistory(coordination);
    return result;
  } catch (error) {
    if (!(error instanceof OutcomeUnknownError)) throw error;
    const head = await coordination.get(CONFIG_HEAD);
    if (head?.value === id) return { applied: true, revision: head.modRevision };
    throw error;
  }
}

async function entriesOf(coordination: Coordination, names: readonly string[]): Promise<ReadonlyMap<string, Entry>> {
  const found = await Promise.all(names.map((key) => coordination.get(key)));
  return new Map(found.flatMap((entry) => (entry === undefined ? [] : [[entry.key, entry] as const])));
}
