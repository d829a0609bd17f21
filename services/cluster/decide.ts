import type { NodeState } from "./contract.js";

/** What a node's state depends on; nothing else does. */
export interface Conditions {
  /** The process was told to end. */
  readonly stopping: boolean;
  /** An operator wants the node to take no new partners. */
  readonly drainWished: boolean;
  /** All conditions for `ready` were met once since the process started. */
  readonly wasUp: boolean;
  /** Partners are served, or were, with the configuration that the node kept on its disk: the store didn't answer. */
  readonly onKeptConfig: boolean;
  /** There is an incarnation, and its lease is usable now. */
  readonly leaseUsable: boolean;
  /** Why there is none although the store answers. */
  readonly membershipProblem?: string | undefined;
  readonly configLoaded: boolean;
  /** Why the configuration couldn't be loaded. */
  readonly configProblem?: string | undefined;
  /** Undefined while it wasn't looked at yet. */
  readonly storage: { readonly healthy: boolean; readonly problem?: string | undefined } | undefined;
  /** Why nothing can be put on the audit record now. */
  readonly auditProblem?: string | undefined;
  /** The partner-facing listener is open. */
  readonly listening: boolean;
  /** Why this node is to take no partners although nothing is missing; absent: it may. */
  readonly passive?: string | undefined;
}

export interface Decision {
  readonly state: NodeState;
  /** Why it isn't `ready`; empty if it is. */
  readonly reasons: readonly string[];
}

/** What of a node's states is well: it serves, or would serve if it were its turn. */
export function isWell(state: NodeState): boolean {
  return state === "ready" || state === "passive";
}

/**
 * Invariants: `ready` only where nothing at all is missing and nobody wants it otherwise; a node that was up never goes
 * back to `joining`, since the balancer treats those two apart: a cut-off node still serves reads when no full one is
 * left, a joining one can serve nothing yet.
 */
export function decideState(conditions: Conditions): Decision {
  const missing = whatIsMissing(conditions);
  if (conditions.stopping) return { state: "draining", reasons: ["the node is stopping", ...missing] };
  if (!conditions.wasUp && !conditions.onKeptConfig && missing.length > 0)
    return { state: "joining", reasons: missing };
  if (conditions.drainWished) return { state: "draining", reasons: ["an administrator drains the node", ...missing] };
  if (missing.length > 0) return { state: "cut-off", reasons: missing };
  if (conditions.passive !== undefined) return { state: "passive", reasons: [conditions.passive] };
  return { state: "ready", reasons: [] };
}

/** True where nothing is missing: what `wasUp` remembers. */
export function isUp(conditions: Conditions): boolean {
  return whatIsMissing(conditions).length === 0;
}

function whatIsMissing(conditions: Conditions): string[] {
  const { storage } = conditions;
  const missing: string[] = [];
  if (!conditions.leaseUsable)
    missing.push(conditions.membershipProblem ?? "no lease: the coordination store doesn't answer");
  if (!conditions.configLoaded) missing.push(conditions.configProblem ?? "the configuration isn't loaded yet");
  if (storage === undefined) missing.push("the storage isn't checked yet");
  else if (!storage.healthy) missing.push(storage.problem ?? "the storage can't be used");
  if (conditions.auditProblem !== undefined) missing.push(conditions.auditProblem);
  if (!conditions.listening) missing.push("the listener isn't open");
  return missing;
}
