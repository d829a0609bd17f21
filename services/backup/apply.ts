import { randomUUID } from "node:crypto";
import { applyingError } from "#config/write.js";
import type { Compare, Coordination, Operation } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { type Item, readShared } from "./contents.js";
import { batches, type Difference, differenceOf } from "./plan.js";

export interface ApplyOptions {
  readonly dryRun?: boolean;
  /** Operations and bytes that one transaction may take; default: what the store takes, with some air. For tests. */
  readonly most?: { readonly operations: number; readonly bytes: number };
}

export interface Applied {
  readonly difference: Difference;
  /** Of the configuration then; of the one that is there where nothing was to be done. */
  readonly revision: number;
}

const MOST_BYTES = 1_000_000;
/** Other writers may be faster that often. */
const TRIES = 8;
const LIST_MS = 60_000;
const WRITE_MS = 10_000;

/**
 * Makes the shared entries what `target` says, as differences, at one moment for everybody who follows the configuration.
 *
 * What fits is one transaction. What doesn't is first written aside (`applying/<id>/...`); then one transaction, which
 * demands that nobody changed the configuration since it was read, puts the marker `config/applying`: from here on it is
 * decided. While the marker is there, nodes keep the configuration that they have and nobody else may change any; the
 * operations are carried out in batches that each demand the marker, and the last one takes it away. If this process dies
 * before the marker, nothing has happened (the next change sweeps up); after it, any node finishes the work
 * (`finishApplying`).
 *
 * Throws `StoreUnavailableError`, `OutcomeUnknownError` (read again to see), and `busy` where another such change is on
 * its way or others write all the time.
 */
export async function applyEntries(
  coordination: Coordination,
  target: readonly Item[],
  options: ApplyOptions = {},
): Promise<Applied> {
  const most = options.most ?? { operations: coordination.maxOperations - 8, bytes: MOST_BYTES };
  for (let tried = 1; ; tried++) {
    const { entries, head, applying } = await readShared(coordination);
    if (applying) throw applyingError();
    const difference = differenceOf(entries, target);
    if (options.dryRun || difference.operations.length === 0) {
      return { difference, revision: head?.modRevision ?? 0 };
    }
    // The head of the very listing: a change since then moved it.
    const unchanged: Compare =
      head === undefined
        ? { key: keys.configHead, is: "absent" }
        : { key: keys.configHead, is: "modified-at", revision: head.modRevision };
    const revision =
      batches(difference.operations, most).length === 1
        ? await applyAtOnce(coordination, difference.operations, unchanged)
        : await applyStaged(coordination, difference.operations, unchanged, most);
    if (revision !== undefined) return { difference, revision };
    if (tried >= TRIES) throw applyingError();
  }
}

/** The revision; undefined where somebody else was faster. */
async function applyAtOnce(
  coordination: Coordination,
  operations: readonly Operation[],
  unchanged: Compare,
): Promise<number | undefined> {
  const id = randomUUID();
  try {
    const result = await coordination.transact(
      {
        compare: [unchanged, { key: keys.configApplying, is: "absent" }],
        apply: [...operations, { put: keys.configHead, value: id }],
      },
      { deadlineMs: WRITE_MS },
    );
    return result.applied ? result.revision : undefined;
  } catch (error) {
    if (!(error instanceof OutcomeUnknownError)) throw error;
    const head = await coordination.get(keys.configHead);
    if (head?.value === id) return head.modRevision;
    throw error;
  }
}

async function applyStaged(
  coordination: Coordination,
  operations: readonly Operation[],
  unchanged: Compare,
  most: { readonly operations: number; readonly bytes: number },
): Promise<number | undefined> {
  const id = randomUUID();
  const begin = `${keys.applyingPrefix}${id}/begin`;
  // What a process left behind that died before its marker; one that still lives finds its own `begin` gone and starts over.
  const swept = await coordination.transact({
    compare: [{ key: keys.configApplying, is: "absent" }],
    apply: [{ deletePrefix: keys.applyingPrefix }],
  });
  if (!swept.applied) throw applyingError();
  const begun = await coordination.transact({
    compare: [{ key: begin, is: "absent" }],
    apply: [{ put: begin, value: String(operations.length) }],
  });
  for (const group of batches(staged(id, operations), most)) {
    const compare: Compare[] = [{ key: begin, is: "modified-at", revision: begun.revision }];
    const written = await coordination.transact({ compare, apply: group }, { deadlineMs: WRITE_MS });
    if (!written.applied) return undefined;
  }
  const decided = await coordination.transact({
    compare: [
      unchanged,
      { key: begin, is: "modified-at", revision: begun.revision },
      { key: keys.configApplying, is: "absent" },
    ],
    apply: [{ put: keys.configApplying, value: id }],
  });
  if (!decided.applied) {
    await coordination.transact({ compare: [], apply: [{ deletePrefix: `${keys.applyingPrefix}${id}/` }] });
    return undefined;
  }
  return await finishApplying(coordination, most);
}

/** A staged operation: the value as it shall be, under a key that says where, and in which order. */
function staged(id: string, operations: readonly Operation[]): Operation[] {
  return operations.map((operation, at) => {
    const order = String(at).padStart(8, "0");
    if ("put" in operation)
      return { put: `${keys.applyingPrefix}${id}/${order}+${operation.put}`, value: operation.value };
    if ("delete" in operation) return { put: `${keys.applyingPrefix}${id}/${order}-${operation.delete}`, value: "" };
    throw new TypeError("a whole-site change deletes keys one by one");
  });
}

/**
 * Carries out what is decided; undefined where nothing is on its way. Any number of processes may do it at once: each batch
 * demands the marker as it was read, and every operation says the same however often it is done.
 */
export async function finishApplying(
  coordination: Coordination,
  most = { operations: coordination.maxOperations - 8, bytes: MOST_BYTES },
): Promise<number | undefined> {
  const marker = await coordination.get(keys.configApplying);
  if (marker === undefined) return undefined;
  const prefix = `${keys.applyingPrefix}${marker.value}/`;
  const { entries } = await coordination.list(prefix, { deadlineMs: LIST_MS });
  const operations = entries.flatMap(({ key, value }): Operation[] => {
    const [, kind, target = ""] = /^\d{8}([+-])(.+)$/s.exec(key.slice(prefix.length)) ?? [];
    if (kind === undefined) return [];
    return [kind === "+" ? { put: target, value } : { delete: target }];
  });
  const compare: Compare[] = [{ key: keys.configApplying, is: "modified-at", revision: marker.modRevision }];
  for (const group of batches(operations, most)) {
    const done = await coordination.transact({ compare, apply: group }, { deadlineMs: WRITE_MS });
    // Somebody else finished it.
    if (!done.applied) return (await coordination.get(keys.configHead))?.modRevision ?? done.revision;
  }
  const ended = await coordination.transact({
    compare,
    apply: [{ delete: keys.configApplying }, { deletePrefix: prefix }, { put: keys.configHead, value: marker.value }],
  });
  return ended.applied ? ended.revision : (await coordination.get(keys.configHead))?.modRevision;
}
