import type { Leaving } from "#cluster/active.js";
import type { ActiveRole } from "#cluster/active-decide.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { DataPath } from "./data-path.js";

/** Whether it is this node's turn to take partners, and what becomes of the sessions that it has when it isn't. */

export interface TurnSituation {
  readonly role: ActiveRole;
  readonly leaving: Leaving | undefined;
  readonly passiveMs: number;
  readonly doubtful: boolean;
  /** Whether the active node says that it is ready. */
  readonly successorReady: boolean;
  readonly sessions: number;
  /** For how long no transfer has run. */
  readonly quietMs: number;
  /** Site setting. */
  readonly drainMs: number;
  /** For how long the node has been without the store, and how long it may be. */
  readonly cutOffMs: number;
  readonly graceMs: number;
}

export interface Turn {
  /** Whether a new partner is let in. */
  readonly takes: boolean;
  /** Whether the balancer's check passes: while it doesn't, sessions are ended by the balancer, too. */
  readonly serves: boolean;
  /** Why all sessions are to end; absent: they go on. */
  readonly end?: string;
}

/** From the word that this node is passive until balancers have surely heard it, too. */
const LEAVE_MS = 1_000;
/** For a new one that takes long. */
const MOST_LEAVE_MS = 10_000;
/** A client that puts many files has gaps between them. */
const QUIET_MS = 5_000;
const TICK_MS = 100;

/**
 * Invariants: a node that is passive and wasn't told so in an orderly way lets nobody in. One that was, does so for a moment:
 * the balancer may not yet have heard, and whoever comes is served as in active-active, since every commit is fenced by the
 * node's own lease. Running transfers end by themselves, at most `drainMs` long.
 */
export function decideTurn(situation: TurnSituation): Turn {
  const { role, leaving, passiveMs } = situation;
  if (overdue(situation)) return { takes: false, serves: false, end: "this node is cut off from its site" };
  if (role !== "passive") return { takes: !situation.doubtful, serves: !situation.doubtful };
  if (leaving === "planned" && passiveMs < MOST_LEAVE_MS && (passiveMs < LEAVE_MS || !situation.successorReady))
    return { takes: true, serves: true };
  const drained = situation.sessions === 0 || situation.quietMs >= QUIET_MS || passiveMs >= situation.drainMs;
  if (leaving === undefined || leaving === "woken" || drained)
    return { takes: false, serves: false, end: "another node is the active one: connect again" };
  return { takes: false, serves: true };
}

function overdue({ cutOffMs, graceMs }: Pick<TurnSituation, "cutOffMs" | "graceMs">): boolean {
  return cutOffMs > graceMs;
}

export interface TurnOptions {
  readonly path: Pick<DataPath, "sessions" | "transfers" | "suspend" | "resume">;
  readonly situation: () => Omit<TurnSituation, "sessions" | "quietMs">;
  readonly logger: Logger;
}

export interface TurnKeeper {
  start(): void;
  /** Decided at each question. */
  now(): Turn;
  check(): void;
  /** Idempotent. */
  stop(): void;
}

/** Acts on what `decideTurn` says. */
export function createTurnKeeper({ path, situation, logger }: TurnOptions): TurnKeeper {
  let busyAt = monotonicMs();
  let ended: string | undefined;
  let timer: NodeJS.Timeout | undefined;

  const now = (): Turn => {
    if (path.transfers > 0) busyAt = monotonicMs();
    const known = situation();
    // Nothing counts as silence that was before the node became passive.
    const quietMs = Math.min(monotonicMs() - busyAt, known.passiveMs);
    return decideTurn({ ...known, sessions: path.sessions, quietMs });
  };
  const check = () => {
    const { end } = now();
    if (end === ended) return;
    const before = ended;
    ended = end;
    if (end === undefined) return path.resume();
    if (before !== undefined) return;
    const { sessions, transfers } = path;
    if (overdue(situation())) {
      logger.warn("cut off for too long: accounts may have changed, so sessions end", { graceMs: situation().graceMs });
    } else if (sessions > 0) {
      logger.warn("sessions are ended, for they can't go on here", { reason: end, sessions, transfers });
    }
    void path.suspend(end);
  };
  return {
    start() {
      timer ??= setInterval(check, TICK_MS).unref();
      check();
    },
    now,
    check,
    stop: () => clearInterval(timer),
  };
}
