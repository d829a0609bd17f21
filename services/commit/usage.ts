import { z } from "zod";
import type { Entry } from "#coordination/contract.js";
import { LongshoreError } from "#lib/errors.js";

/**
 * How much lies in a folder with a quota: one counter in the store for each such place, advanced by the very transaction that
 * commits a change. So it is exact for all that went through the site, wherever a node dies; what came or went past it is
 * put right by a recount (quota/recount.ts). Pure.
 */

const bytes = z.int().min(0);

/** Not strict: a newer node of a rolling upgrade may say more. */
export const usageSchema = z.object({
  /** Of all files now, as far as it is known. */
  bytes,
  /** Sums over all changes since there is a counter: a recount tells by them what may have happened beside its walk. */
  added: bytes,
  removed: bytes,
  /** Changes that move files within the place, or by a size that isn't known. */
  moves: bytes,
  /** Recounts so far; 0: what lay there before isn't in `bytes` yet. */
  counts: bytes,
  /** Of the last recount, milliseconds since 1970. */
  countedAt: z.number().optional(),
  /** Whether nothing happened beside it. */
  exact: z.boolean().optional(),
  /** How long its walk took. */
  tookMs: z.number().optional(),
  /** It is to be counted anew soon. */
  due: z.boolean().optional(),
});
export type Usage = z.infer<typeof usageSchema>;

export const NO_USAGE: Usage = { bytes: 0, added: 0, removed: 0, moves: 0, counts: 0 };

/** What one change means for one place. */
export interface UsageChange {
  /** Relative to the storage root. */
  readonly target: string;
  readonly added: number;
  readonly removed: number;
  /** Files move within the place, or across its border by a size that isn't known. */
  readonly moves?: boolean | undefined;
  /** Nobody knows by how much: the place is to be counted anew. */
  readonly unknown?: boolean | undefined;
  /** What may lie there after a change that adds; `folder`: as the client knows the place. */
  readonly limit?: { readonly bytes: number; readonly folder: string } | undefined;
}

/** Of a record: enough to take the change back. */
export const recordedUsageSchema = z.array(z.object({ target: z.string(), added: bytes, removed: bytes }));

/** Works out what a change means, right before it is sent. Empty: no folder with a quota has to do with it. */
export type Meter = (change: MeteredChange) => Promise<readonly UsageChange[]>;

export interface MeteredChange {
  readonly effect: import("#storage/contract.js").Effect;
  readonly account: string;
  /** Of an upload. */
  readonly size?: number | undefined;
}

export function parseUsage(entry: Pick<Entry, "value">): Usage {
  return usageSchema.parse(JSON.parse(entry.value));
}

/** Undefined where it is damaged: the place is as one that wasn't counted yet, and the coordinator makes the counter anew. */
export function readUsage(entry: Pick<Entry, "value">): Usage | undefined {
  try {
    return parseUsage(entry);
  } catch {
    return undefined;
  }
}

export function advance(usage: Usage, { added, removed, moves, unknown }: UsageChange): Usage {
  return {
    ...usage,
    bytes: Math.max(0, usage.bytes + added - removed),
    added: usage.added + added,
    removed: usage.removed + removed,
    moves: usage.moves + (moves ? 1 : 0),
    ...(unknown && { due: true }),
  };
}

/** The opposite, of a change that could not be put in place. */
export function takenBack({ target, added, removed }: UsageChange): UsageChange {
  return { target, added: removed, removed: added };
}

/** Why the change can't be: it adds, and would go past the limit. */
export function quotaFault(usage: Usage, { added, removed, limit }: UsageChange): LongshoreError | undefined {
  if (limit === undefined || added <= removed) return undefined;
  const after = usage.bytes + added - removed;
  return after > limit.bytes ? quotaExceeded(limit, usage.bytes) : undefined;
}

export function quotaExceeded(limit: { readonly bytes: number; readonly folder: string }, used: number) {
  const room = Math.max(0, limit.bytes - used);
  return new LongshoreError(
    "quota-exceeded",
    `quota exceeded: ${limit.folder} takes ${limit.bytes} bytes and has room for ${room}: remove files first`,
  );
}
