import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { Coordination, Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";

/** What a change says of itself. */
export interface ChangeNote {
  /** Who asked for it. Default: `unknown`. */
  readonly by?: string;
  /** One line. Default: what was put and deleted. */
  readonly summary?: string;
}

/** So many changes can be looked at and rolled back. */
export const HISTORY_LIMIT = 200;
/** Changes of this process between two looks for what is too old. */
const TRIM_EVERY = 16;
const SUMMARY_NAMES = 3;

const historySchema = z.strictObject({
  /** Milliseconds since 1970, by the writing node's clock. */
  at: z.number(),
  by: z.string(),
  summary: z.string(),
  /** What each changed key held before; null: nothing. */
  replaced: z.array(z.strictObject({ key: z.string(), before: z.string().nullable() })),
});

export interface PastChange extends z.infer<typeof historySchema> {
  /** Of the configuration that the change made: the record's first revision, since a rotation seals it anew. */
  readonly revision: number;
  readonly key: string;
}

/** The operation that records a change, to be in its own transaction: its revision is the change's. */
export function recordOf(
  apply: readonly Operation[],
  before: ReadonlyMap<string, Entry>,
  note: ChangeNote,
): Operation | undefined {
  const changed = changedKeys(apply);
  if (changed.length === 0) return undefined;
  const at = Date.now();
  const record: z.infer<typeof historySchema> = {
    at,
    by: (note.by ?? "unknown").slice(0, 128),
    summary: (note.summary ?? summaryOf(apply)).slice(0, 512),
    replaced: changed.map((key) => ({ key, before: before.get(key)?.value ?? null })),
  };
  const id = `${String(at).padStart(15, "0")}-${randomBytes(4).toString("hex")}`;
  return { put: keys.configHistory(id), value: JSON.stringify(record) };
}

export function changedKeys(apply: readonly Operation[]): string[] {
  return apply.flatMap((operation) => {
    const key = "put" in operation ? operation.put : "delete" in operation ? operation.delete : undefined;
    return key?.startsWith(keys.configPrefix) && key !== keys.configHead ? [key] : [];
  });
}

function summaryOf(apply: readonly Operation[]): string {
  const words = apply.flatMap((operation) => {
    if ("put" in operation) return [`put ${operation.put.slice(keys.configPrefix.length)}`];
    return "delete" in operation ? [`delete ${operation.delete.slice(keys.configPrefix.length)}`] : [];
  });
  const more = words.length - SUMMARY_NAMES;
  return words.slice(0, SUMMARY_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** The newest changes, newest first, at most `HISTORY_LIMIT`. Throws `StoreUnavailableError`. */
export async function pastChanges(coordination: Coordination): Promise<readonly PastChange[]> {
  const { entries } = await coordination.list(keys.configHistoryPrefix);
  return (
    entries
      .flatMap((entry) => {
        const parsed = parse(entry.value);
        return parsed === undefined ? [] : [{ ...parsed, revision: entry.createRevision, key: entry.key }];
      })
      // A restore brings back many under one revision; each still says when it was.
      .sort((a, b) => b.revision - a.revision || (a.at < b.at ? 1 : -1))
      .slice(0, HISTORY_LIMIT)
  );
}

/**
 * What each key held at `revision`, for all keys that were changed since: the oldest change after it knows. Pure; `changes`
 * newest first.
 */
export function valuesAt(changes: readonly PastChange[], revision: number): Map<string, string | null> {
  const values = new Map<string, string | null>();
  for (const change of changes) {
    if (change.revision <= revision) break;
    for (const { key, before } of change.replaced) values.set(key, before);
  }
  return values;
}

let written = 0;

/** Removes what is past the limit, now and then. Never throws: a later one tries again. */
export async function trimHistory(coordination: Coordination, always = false): Promise<void> {
  written += 1;
  if (!always && written % TRIM_EVERY !== 0) return;
  try {
    const { entries } = await coordination.list(keys.configHistoryPrefix, { keysOnly: true });
    const old = entries.toSorted((a, b) => b.createRevision - a.createRevision).slice(HISTORY_LIMIT);
    const apply = old.slice(0, coordination.maxOperations - 1).map(({ key }) => ({ delete: key }));
    if (apply.length > 0) await coordination.transact({ compare: [], apply });
  } catch {
    // Nothing depends on it.
  }
}

function parse(value: string): z.infer<typeof historySchema> | undefined {
  try {
    return historySchema.safeParse(JSON.parse(value)).data;
  } catch {
    return undefined;
  }
}
