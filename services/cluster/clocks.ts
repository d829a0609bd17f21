import type { NodeRecord } from "./contract.js";

/** Heartbeats come each second, and a busy store delays them. */
const MOST_OFF_MS = 30_000;

/**
 * Whether this node's clock may decide about days: false where it is far from the median of all nodes' clocks.
 * Invariant: of three or more nodes with one wrong clock, that one is told and no other. Two alone can't tell who is wrong.
 */
export function clockAgrees(members: readonly Pick<NodeRecord, "id" | "at">[], own: string, now: number): boolean {
  const others = members.filter(({ id }) => id !== own).map(({ at }) => at);
  if (others.length < 2) return true;
  const clocks = [now, ...others].sort((a, b) => a - b);
  // of an even number, agreeing with either of the middle ones is enough
  const middle = [clocks[(clocks.length - 1) >> 1], clocks[clocks.length >> 1]];
  return middle.some((at) => at !== undefined && Math.abs(now - at) <= MOST_OFF_MS);
}
