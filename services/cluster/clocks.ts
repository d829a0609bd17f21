import type { NodeRecord } from "./contract.js";

/** Heartbeats come each second, and a busy store delays them. */
const MOST_OFF_MS = 30_000;
/** Differences below this are the heartbeats' own age, in milliseconds. */
const TOLERANCE_MS = 5_000;

/**
 * Whether this node's clock may decide about days: false where it is far from the median of all nodes' clocks.
 * Invariant: of three or more nodes with one wrong clock, that one is told and no other. Two alone can't tell who is wrong.
 */
export function clockAgrees(members: readonly Pick<NodeRecord, "id" | "at">[], own: string, now: number): boolean {
  const others = members.filter(({ id }) => id !== own).map(({ at }) => at);
  if (others.length < 2) return true;
  // of an even number, agreeing with either of the middle ones is enough
  return middle([now, ...others]).some((at) => Math.abs(now - at) <= MOST_OFF_MS);
}

/**
 * What to add to this node's wall clock to get the site's: the median of all nodes' clocks, as their heartbeats tell. One
 * node whose clock is an hour off then neither ends everybody's bans too early nor keeps its own for an hour too long. 0
 * where the clocks agree, or this node isn't among the members.
 */
export function clockCorrectionMs(members: readonly Pick<NodeRecord, "id" | "at">[], ownId: string): number {
  const offset = clockOffsetMs(members, ownId);
  return isClockOff(offset) ? -offset : 0;
}

/**
 * How far a node's clock is ahead of the site's, the median of all nodes' clocks; negative: behind. To the age of the
 * heartbeats, about a second. 0 where the node isn't among the members.
 */
export function clockOffsetMs(members: readonly Pick<NodeRecord, "id" | "at">[], id: string): number {
  const node = members.find((each) => each.id === id);
  if (node === undefined) return 0;
  const [lower, upper] = middle(members.map(({ at }) => at));
  return node.at - (upper + lower) / 2;
}

/**
 * Whether an offset is more than heartbeats explain. One that was (`was`) is until it is well below: the heartbeats' ages move
 * the figure by a second to and fro, and a clock that drifts slowly would come and go each second for days.
 */
export function isClockOff(offsetMs: number, was = false): boolean {
  return Math.abs(offsetMs) >= (was ? TOLERANCE_MS / 2 : TOLERANCE_MS);
}

export interface ClockOff {
  readonly name: string;
  /** Positive: ahead. */
  readonly offsetMs: number;
}

/** The nodes whose clocks are off by more than heartbeats explain. Of two nodes that disagree, each is as wrong as the other. */
export function clocksOff(members: readonly Pick<NodeRecord, "id" | "name" | "at">[]): ClockOff[] {
  return members
    .map(({ id, name }) => ({ name, offsetMs: clockOffsetMs(members, id) }))
    .filter(({ offsetMs }) => isClockOff(offsetMs));
}

/** The two middle ones; of an odd number, the one twice. There is at least one. */
function middle(times: readonly number[]): [lower: number, upper: number] {
  const sorted = [...times].sort((a, b) => a - b);
  return [sorted[(sorted.length - 1) >> 1] as number, sorted[sorted.length >> 1] as number];
}
