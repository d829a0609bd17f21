import { type Conditions, type Decision, decideState, isUp } from "#cluster/decide.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";

export interface NodeStateOptions {
  /** What holds now; asked at each question, so that no answer is older than its question. */
  readonly conditions: () => Omit<Conditions, "stopping" | "wasUp">;
  /** While the node serves on its kept configuration and wasn't up yet: since the last contact, in milliseconds. */
  readonly sinceContactMs: () => number;
  readonly onChange: (decision: Decision) => void;
  readonly logger: Logger;
}

export interface NodeStateKeeper {
  start(): void;
  now(): Decision;
  stopping(): void;
  /**
   * How long the node has been without the store; 0: it isn't. Milliseconds. For one that was up since its lease became
   * unusable; for one that started without the store since the last contact of the process before it, so that no restart
   * makes the time longer.
   */
  cutOffMs(): number;
  /** Looks now rather than at the next tick. */
  check(): void;
  /** No change is told any more. Idempotent. */
  stop(): void;
}

const TICK_MS = 200;

/** Remembers the little that the state depends on and that no part knows, and tells of changes. */
export function createNodeState(options: NodeStateOptions): NodeStateKeeper {
  let stopping = false;
  let wasUp = false;
  let lostAt: number | undefined;
  let said: Decision | undefined;
  let timer: NodeJS.Timeout | undefined;
  let ended = false;

  const now = (): Decision => {
    const conditions = { ...options.conditions(), stopping, wasUp };
    wasUp ||= isUp(conditions);
    return decideState({ ...conditions, wasUp });
  };

  const check = () => {
    if (ended) return;
    const { leaseUsable } = options.conditions();
    const decision = now();
    if (leaseUsable || !wasUp) lostAt = undefined;
    else lostAt ??= monotonicMs();
    const changed = said?.state !== decision.state || said.reasons.join() !== decision.reasons.join();
    if (!changed) return;
    const { state, reasons } = decision;
    if (state === "cut-off") options.logger.warn("the node is cut off", { state, reasons });
    else options.logger.info(`the node is ${state}`, { state, reasons });
    said = decision;
    options.onChange(decision);
  };

  return {
    start() {
      timer ??= setInterval(check, TICK_MS).unref();
      check();
    },
    now,
    stopping() {
      stopping = true;
      check();
    },
    cutOffMs() {
      if (lostAt !== undefined) return monotonicMs() - lostAt;
      const { onKeptConfig, leaseUsable, configLoaded } = options.conditions();
      return onKeptConfig && !(leaseUsable && configLoaded) && !wasUp ? options.sinceContactMs() : 0;
    },
    check,
    stop() {
      ended = true;
      clearInterval(timer);
    },
  };
}
