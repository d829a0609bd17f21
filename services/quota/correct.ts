import type { Usage } from "#commit/usage.js";

/** When a place is counted anew, and what a count says. Pure. */

/** After the first count: a node that had not heard of the quota yet may have committed beside it. */
const SECOND_COUNT_MS = 5_000;
/** Files that come or go past the site are known so soon. */
const COUNT_EVERY_MS = 3_600_000;
const INEXACT_AGAIN_MS = 600_000;
/** Asked for, for instance because an upload was refused: no sooner than this after the last one. */
const ASKED_MS = 10_000;
/** A walk that takes long may take so much of the time. */
const REST = 20;

/** Milliseconds until the place is to be counted; 0: now. */
export function recountIn(usage: Usage, now: number): number {
  if (usage.counts === 0 || usage.countedAt === undefined) return 0;
  const regular = usage.counts === 1 ? SECOND_COUNT_MS : usage.exact ? COUNT_EVERY_MS : INEXACT_AGAIN_MS;
  const wait = Math.max(usage.due ? ASKED_MS : regular, (usage.tookMs ?? 0) * REST);
  // a clock that was set back must not put it off for ever
  return Math.min(wait, Math.max(0, usage.countedAt + wait - now));
}

export interface Count {
  /** The counter before the walk, when all that it counted was in place. */
  readonly before: Usage;
  /** The counter after it. */
  readonly after: Usage;
  /** What the walk found. */
  readonly walked: number;
  readonly now: number;
  readonly tookMs: number;
}

/**
 * The counter as the walk says. Invariant: with nothing committed beside the walk it is what the walk found. Else the walk may
 * have missed what was added beside it and may have seen what was removed, so the truth lies between two bounds; a counter
 * within them stays as it is, another goes to the nearer one.
 */
export function corrected({ before, after, walked, now, tookMs }: Count): Usage {
  const added = after.added - before.added;
  const removed = after.removed - before.removed;
  const moved = after.moves - before.moves;
  const exact = added === 0 && removed === 0 && moved === 0;
  const lowest = Math.max(0, walked - removed);
  const highest = walked + added;
  // a file that moved beside the walk was seen twice or never: nothing can be said, but for a first count
  const keep = moved > 0 && after.counts > 0;
  const bytes = keep ? after.bytes : Math.min(highest, Math.max(lowest, after.bytes));
  const { due, ...rest } = after;
  // asked for beside the walk, which may have passed by then what it was asked for
  const again = due === true && before.due !== true ? { due } : {};
  return { ...rest, ...again, bytes, exact, counts: after.counts + 1, countedAt: now, tookMs };
}
