import type { AuditSink } from "#audit/contract.js";
import { createActive } from "#cluster/active.js";
import type { ActiveHolder } from "#cluster/active-decide.js";
import type { Membership, NodeIdentity, NodeState } from "#cluster/contract.js";
import type { MembersView } from "#cluster/members.js";
import type { Mode } from "#config/active-schema.js";
import type { RunningConfigView } from "#config/view.js";
import type { Coordination } from "#coordination/contract.js";
import type { Logger } from "#lib/logger.js";
import type { ActiveGauges, Metrics } from "#observe/metrics.js";
import type { DataPath } from "./data-path.js";
import { createTurnKeeper, type TurnKeeper } from "./turn.js";

export interface NodeActiveOptions {
  readonly coordination: Coordination;
  readonly identity: NodeIdentity;
  readonly membership: Membership;
  readonly members: MembersView;
  readonly config: RunningConfigView;
  readonly state: () => NodeState;
  /** For how long the node has been without the store, and how long it may be, in milliseconds. */
  readonly cutOffMs: () => number;
  readonly graceMs: () => number;
  readonly onChange: () => void;
  readonly metrics: Metrics;
  readonly audit: AuditSink;
  readonly logger: Logger;
}

/** This node's part in active-passive, and what its partners feel of it. */
export interface NodeActive {
  start(): void;
  /** Looks now rather than at the next tick: the node's state changed. */
  check(): void;
  /** Why this node isn't to take partners; undefined: it may. */
  whyPassive(): string | undefined;
  /** Whether a new partner is let in. */
  readonly takes: () => boolean;
  /** Whether the balancer's check may pass. */
  readonly serves: () => boolean;
  /** Ends this data path's sessions where they can't go on, and takes them again; returns how to stop that. */
  mind(path: DataPath): () => void;
  readonly held: { holder(): ActiveHolder | undefined; mode(): Mode | undefined };
  readonly gauges: () => ActiveGauges | undefined;
  /** Idempotent. */
  stop(): Promise<void>;
}

export function createNodeActive(options: NodeActiveOptions): NodeActive {
  const { config, identity, members, audit, metrics, logger } = options;
  // Also of the configuration that the node kept on its disk, while the store doesn't answer.
  const site = () => (config.status().hash === "" ? undefined : config.snapshot().site);
  let keeper: TurnKeeper | undefined;
  const record = (what: string, details: Readonly<Record<string, unknown>>) =>
    audit.record({ kind: "active", what, outcome: "ok", who: identity.name, details });
  const active = createActive({
    coordination: options.coordination,
    identity,
    membership: options.membership,
    members: () => members.list(),
    settings: site,
    state: options.state,
    onChange: () => {
      options.onChange();
      keeper?.check();
    },
    onTaken: ({ how, from, generation }) => {
      metrics.activeTaken(how);
      record("taken", { how, from, generation });
    },
    onLeft: (how, next) => record("left", { how, to: next?.name, generation: next?.generation }),
    logger,
  });
  const successorReady = () => {
    const id = active.holder()?.id;
    return members.list().some((each) => each.id === id && each.state === "ready");
  };
  return {
    start: () => active.start(),
    check: () => active.check(),
    whyPassive() {
      if (active.role() !== "passive") return undefined;
      const name = active.holder()?.name;
      return name === undefined ? "no node is the active one yet" : `${name} is the active node`;
    },
    takes: () => keeper?.now().takes ?? true,
    serves: () => keeper?.now().serves ?? true,
    mind(path) {
      const turn = createTurnKeeper({
        path,
        situation: () => ({
          role: active.role(),
          leaving: active.leaving(),
          passiveMs: active.passiveMs(),
          doubtful: active.doubtful(),
          successorReady: successorReady(),
          drainMs: (site()?.activePassive.drainSeconds ?? 0) * 1_000,
          cutOffMs: options.cutOffMs(),
          graceMs: options.graceMs(),
        }),
        logger,
      });
      keeper = turn;
      turn.start();
      return () => turn.stop();
    },
    held: { holder: () => active.holder(), mode: () => site()?.mode },
    gauges: () => {
      if (site()?.mode !== "active-passive") return undefined;
      const holder = active.holder();
      return { holds: active.role() === "active", generation: holder?.generation ?? 0, since: holder?.since };
    },
    stop: () => active.stop(),
  };
}
