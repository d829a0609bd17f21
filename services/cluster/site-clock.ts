import type { NodeRecord } from "./contract.js";

/** Differences below this are the heartbeats' own age, in milliseconds. */
const TOLERANCE_MS = 5_000;

/**
 * What to add to this node's wall clock to get the site's: the median of all nodes' clocks, as their heartbeats tell. One
 * node whose clock is an hour off then neither ends everybody's bans too early nor keeps its own for an hour too long. 0
 * where the clocks agree, or this node isn't among the members.
 */
export function clockCorrectionMs(members: readonly Pick<NodeRecord, "id" | "at">[], ownId: string): number {
  const own = members.find(({ id }) => id === ownId);
  if (own === undefined) return 0;
  const times = members.map(({ at }) => at).sort((a, b) => a - b);
  const middle = Math.floor(times.length / 2);
  const upper = times[middle] ?? own.at;
  const lower = times[times.length % 2 === 0 ? middle - 1 : middle] ?? upper;
  const correction = (upper + lower) / 2 - own.at;
  return Math.abs(correction) < TOLERANCE_MS ? 0 : correction;
}
