import type { Mode } from "#config/active-schema.js";
import type { NodeState } from "./contract.js";
import { isWell } from "./decide.js";

/** The mode active-passive, decided purely: who holds the key `active`, and what that means for this node. */

/**
 * How the key came to its holder. `first`: nobody had it. `takeover`: the holder before was gone. `restart`: the same node,
 * a new process. `handover`: the holder before drained, stopped or was unwell. `switch`: by command.
 */
export const ACTIVE_CHANGES = ["first", "takeover", "restart", "handover", "switch"] as const;
export type ActiveChange = (typeof ACTIVE_CHANGES)[number];

export interface ActiveHolder {
  readonly incarnation: string;
  readonly id: string;
  readonly name: string;
  /** By the clock of who wrote it, milliseconds since 1970. */
  readonly since: number;
  readonly how: ActiveChange;
  /** The name of the holder before, where it is known. */
  readonly from?: string | undefined;
  /** The revision that wrote the key: each holder's is larger than all before. */
  readonly generation: number;
}

/** `shared`: the mode is active-active, every node serves. */
export type ActiveRole = "shared" | "active" | "passive";

export interface RoleSituation {
  /** Undefined before there is a configuration. */
  readonly mode: Mode | undefined;
  /** As the store said last. */
  readonly held: Pick<ActiveHolder, "incarnation"> | undefined;
  /** This process's incarnation, whether its lease is usable now or not. */
  readonly own: string | undefined;
  readonly before: ActiveRole;
  /** Since the mode changed as this node saw it, in milliseconds. */
  readonly sinceModeMs: number;
}

/** After a change to active-passive every node serves on until somebody is the active one, at most so long. */
export const SETTLE_MS = 5_000;

/**
 * Invariants: at most one incarnation is `active`, since one key names it. A node without an answer of the store keeps the
 * role that it had: the last active node goes on (as `cut-off`, which ends it after the grace), a passive one never begins.
 */
export function roleOf({ mode, held, own, before, sinceModeMs }: RoleSituation): ActiveRole {
  if (mode === undefined) return "passive";
  if (mode === "active-active") return "shared";
  if (held === undefined) return before === "shared" && sinceModeMs < SETTLE_MS ? "shared" : "passive";
  return held.incarnation === own ? "active" : "passive";
}

export interface Candidate {
  readonly id: string;
  readonly name: string;
  readonly slot: number;
  readonly state: NodeState;
}

export interface ActiveSituation {
  readonly mode: Mode | undefined;
  readonly order: readonly string[];
  /** This node, if its lease is usable now. */
  readonly own:
    | { readonly incarnation: string; readonly id: string; readonly name: string; readonly slot: number }
    | undefined;
  /** Whether the store has said who holds the key. */
  readonly known: boolean;
  readonly held: Pick<ActiveHolder, "incarnation" | "id" | "generation"> | undefined;
  readonly state: NodeState;
  /** For how long `state` has been neither ready nor passive, in milliseconds. */
  readonly unwellMs: number;
  /** How long that may last on the active node, in milliseconds (site setting). */
  readonly unhealthyMs: number;
  /** Nodes that live by the store's reckoning; may be half a second old. */
  readonly members: readonly Candidate[];
  /** For how long nobody has held the key. */
  readonly absentMs: number;
  /** For how long this incarnation has been a member. */
  readonly joinedMs: number;
  /** The holder is a former process of this very node, and certainly gone; it had been the active one for so long. */
  readonly formerSelfMs: number | undefined;
}

export type ActiveDecision =
  | { readonly act: "rest" }
  /** Take the key that nobody has, or `over` the dead process that still has it. */
  | { readonly act: "campaign"; readonly over?: number }
  | { readonly act: "hand-over"; readonly to: Candidate }
  /** Nobody is to hold it in this mode. */
  | { readonly act: "give-up" };

/** Each well node that is ahead in the order gets so long to take the key before the next one does. */
export const STAGGER_MS = 1_000;
const MOST_STAGGER_MS = 5_000;
/** So long after its own start a node waits for those that the order names before it: a whole site that starts. */
export const GATHER_MS = 5_000;
/** An active node whose process died sooner than this goes behind the others: it may well die again. */
export const STABLE_MS = 60_000;

/**
 * Invariants: nobody takes the key from a living holder but by its own hand-over (or a command, active-assign.ts); a node
 * that isn't well never campaigns; whatever others fail to do, some well node campaigns after a bounded time. So a node that
 * comes back stays passive: there is no automatic failback.
 */
export function decideActive(situation: ActiveSituation): ActiveDecision {
  const { mode, own, held, known, state } = situation;
  if (own === undefined || !known || mode === undefined) return { act: "rest" };
  const mine = held !== undefined && held.incarnation === own.incarnation;
  if (mode === "active-active") return { act: mine ? "give-up" : "rest" };
  if (held === undefined) {
    const due = isWell(state) && situation.absentMs >= waitMs(situation, own);
    return { act: due ? "campaign" : "rest" };
  }
  if (mine) return whetherToHandOver(situation, own.id);
  const formerMs = held.id === own.id && isWell(state) ? situation.formerSelfMs : undefined;
  if (formerMs !== undefined && formerMs >= STABLE_MS) return { act: "campaign", over: held.generation };
  return { act: "rest" };
}

function whetherToHandOver(situation: ActiveSituation, ownId: string): ActiveDecision {
  const { state, unwellMs, unhealthyMs } = situation;
  if (isWell(state)) return { act: "rest" };
  if (state !== "draining" && unwellMs < unhealthyMs) return { act: "rest" };
  const to = nextActive(situation.members, situation.order, ownId);
  return to === undefined ? { act: "rest" } : { act: "hand-over", to };
}

/** How long the key must have been free before this node takes it. */
function waitMs({ members, order, joinedMs }: ActiveSituation, own: Ranked & { readonly id: string }): number {
  const rank = rankBy(order);
  const ahead = members.filter((each) => each.id !== own.id && isWell(each.state) && rank(each, own) < 0);
  const position = order.indexOf(own.name);
  const namedBefore = position < 0 ? order : order.slice(0, position);
  // A node is a member before it has its storage: one that is only joining is waited for, too.
  const missing = namedBefore.some((name) => !members.some((each) => each.name === name && each.state !== "joining"));
  if (missing && joinedMs < GATHER_MS) return Number.POSITIVE_INFINITY;
  return Math.min(ahead.length * STAGGER_MS, MOST_STAGGER_MS);
}

interface Ranked {
  readonly name: string;
  readonly slot: number;
}

/** Who comes first: as the order names them, then all others by slot. */
export function rankBy(order: readonly string[]): (a: Ranked, b: Ranked) => number {
  const place = ({ name }: Ranked) => {
    const at = order.indexOf(name);
    return at < 0 ? order.length : at;
  };
  return (a, b) => place(a) - place(b) || a.slot - b.slot;
}

/** The well node that comes first, other than the present holder. */
export function nextActive(
  members: readonly Candidate[],
  order: readonly string[],
  exceptId: string | undefined,
): Candidate | undefined {
  return members.filter(({ id, state }) => id !== exceptId && isWell(state)).sort(rankBy(order))[0];
}
