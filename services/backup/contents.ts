import { z } from "zod";
import type { Coordination, Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { BackupError } from "./errors.js";

/** What a backup of shared data holds. What isn't named here belongs to running processes, or to the storage. */
export const SHARED_PREFIXES: readonly string[] = [
  keys.configPrefix,
  "config-history/",
  "security/",
  // Which accounts were used when, and who was told of what: else a restored site would tell everybody again.
  keys.lifePrefix,
  keys.activityPrefix,
  keys.noticePrefix,
  // Else nobody could tell of a log on the storage whether its newest lines were cut off while the store was lost.
  keys.auditAnchorPrefix,
  "ticks/",
];
/** Below them, but only of the moment: counts of single nodes, the head that each change rewrites, a change under way. */
const PASSING: readonly string[] = ["security/counters/", keys.configHead, keys.configApplying];
/** A restore adds to these and takes nothing away: they tell what was, such as when an account was used last. */
export const APPEND_ONLY: readonly string[] = [
  "config-history/",
  "security/known/",
  keys.lifePrefix,
  keys.activityPrefix,
  keys.noticePrefix,
  keys.auditAnchorPrefix,
];
/** About the storage of the very site that was backed up: on another one they would tell of logs that aren't there. */
export const OF_THE_STORAGE: readonly string[] = [keys.auditAnchorPrefix];

export const SCOPES = ["shared", "node", "both"] as const;
export type Scope = (typeof SCOPES)[number];

/** One entry of a backup: key and value, without revisions, which another store wouldn't have. */
export type Item = readonly [key: string, value: string];

export interface SharedListing {
  readonly entries: readonly Entry[];
  readonly revision: number;
  /** Moved by each change of the configuration. */
  readonly head: Entry | undefined;
  /** A whole-site change is half in force: the entries are no configuration. */
  readonly applying: boolean;
}

const LIST_MS = 60_000;
const ITEMS_A_TURN = 512;
/** A store key may hold a path of 4,096 characters. */
const MAX_KEY = 8_192;
const itemSchema = z.tuple([z.string().min(1).max(MAX_KEY), z.string().max(1_500_000)]);

export function isShared(entry: Entry): boolean {
  // What hangs on a lease is some process's, and gone with it.
  if (entry.lease !== undefined) return false;
  return isSharedKey(entry.key);
}

export function isSharedKey(key: string): boolean {
  return SHARED_PREFIXES.some((prefix) => key.startsWith(prefix)) && !PASSING.some((prefix) => key.startsWith(prefix));
}

/**
 * The shared data at one revision: one listing of the whole store, since only a single listing is of one revision.
 * Throws `StoreUnavailableError`.
 */
export async function readShared(coordination: Coordination): Promise<SharedListing> {
  const { entries, revision } = await coordination.list("", { deadlineMs: LIST_MS });
  return {
    entries: entries.filter((entry) => isShared(entry)),
    revision,
    head: entries.find((entry) => entry.key === keys.configHead),
    applying: entries.some((entry) => entry.key === keys.configApplying),
  };
}

/** A line of JSON for each entry, oldest change first: a restore in this order keeps the order of the history. */
export async function encodeItems(entries: readonly Entry[]): Promise<Buffer> {
  const ordered = [...entries].sort((a, b) => a.modRevision - b.modRevision);
  const pieces: string[] = [];
  for (let from = 0; from < ordered.length; from += ITEMS_A_TURN) {
    const some = ordered.slice(from, from + ITEMS_A_TURN);
    pieces.push(some.map(({ key, value }) => `${JSON.stringify([key, value])}\n`).join(""));
    // The node goes on serving meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return Buffer.from(pieces.join(""));
}

/** Throws `BackupError` for what isn't a list of entries that a backup may hold. */
export function decodeItems(part: Buffer): Item[] {
  const lines = part.toString("utf8").split("\n");
  if (lines.pop() !== "") throw new BackupError("the list of entries has no end");
  const seen = new Set<string>();
  return lines.map((line, at) => {
    try {
      const item = itemSchema.parse(JSON.parse(line));
      if (!isSharedKey(item[0])) throw new Error(`${item[0]} is nothing that a backup holds`);
      if (seen.has(item[0])) throw new Error(`${item[0]} is there twice`);
      seen.add(item[0]);
      return item;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new BackupError(`entry ${at + 1} of the backup can't be used: ${why}`, error);
    }
  });
}
