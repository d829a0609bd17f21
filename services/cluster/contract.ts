import { z } from "zod";
import type { Lease } from "#coordination/contract.js";
import { type NodeCertificate, nodeCertificateSchema } from "./certificates.js";

/**
 * `joining`: not all parts are up yet. `ready`: takes partners. `draining`: takes no new ones, runs on for those it has.
 * `cut-off`: it was up, and now lacks the store's quorum or the storage. `passive`: nothing is missing, but another node is
 * the active one (mode active-passive).
 */
export const NODE_STATES = ["joining", "ready", "passive", "draining", "cut-off"] as const;
export type NodeState = (typeof NODE_STATES)[number];

/** What stays the same over a node's restarts. */
export interface NodeIdentity {
  /** UUID, kept in the data directory. */
  readonly id: string;
  readonly name: string;
  /** 1 to 255. */
  readonly slot: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Software version. */
  readonly version: string;
  /** Where its listeners are, as `host:port`, by name (`sftp`, `admin`, `agent`). */
  readonly addresses: Readonly<Record<string, string>>;
}

export interface NodeLoad {
  readonly sessions: number;
  readonly transfers: number;
  readonly bytesPerSecond: number;
}

/** What the node says with each heartbeat besides its identity. */
export interface Heartbeat {
  readonly state: NodeState;
  /** Why the state isn't `ready`; sentences. */
  readonly reasons: readonly string[];
  /** Of the configuration in force; 0 and "" before there is one. */
  readonly revision: number;
  readonly hash: string;
  /** How long the node has known that its configuration may be behind, in milliseconds; 0: it isn't. */
  readonly lagMs: number;
  readonly load: NodeLoad;
  /** Ids of the cluster keys that it has, the one that it seals with first. */
  readonly sealKeys?: readonly string[];
  readonly certificates?: readonly NodeCertificate[];
}

/** `nodes/<id>` in the store. Not strict: during an upgrade newer nodes say more than older ones know. */
export const nodeRecordSchema = z.object({
  id: z.string(),
  name: z.string(),
  slot: z.number(),
  labels: z.record(z.string(), z.string()),
  version: z.string(),
  addresses: z.record(z.string(), z.string()),
  incarnation: z.string(),
  state: z.enum(NODE_STATES),
  reasons: z.array(z.string()),
  revision: z.number(),
  hash: z.string(),
  lagMs: z.number(),
  load: z.object({ sessions: z.number(), transfers: z.number(), bytesPerSecond: z.number() }),
  sealKeys: z.array(z.string()).optional(),
  certificates: z.array(nodeCertificateSchema).optional(),
  /** Wall clock of the node, milliseconds since 1970. */
  at: z.number(),
});
export type NodeRecord = z.infer<typeof nodeRecordSchema>;

/** One life of this worker in the cluster. Its work is fenced by `owners/<incarnation>`. */
export interface Incarnation {
  readonly incarnation: string;
  readonly lease: Lease;
  /** The revision that created `owners/<incarnation>`: the first one that a transaction group's fence compares. */
  readonly ownerRevision: number;
}

export interface Membership {
  /**
   * Registers: waits for the store as long as it takes. Throws `NodeConflictError` where another living node has this
   * name, slot or id; a second `start` isn't allowed.
   */
  start(signal?: AbortSignal): Promise<void>;
  /** Undefined while not registered. The lease in it may be unusable for the moment: ask `lease.usable()`. */
  current(): Incarnation | undefined;
  /** Calls back with each incarnation that begins after this call (and never for the current one); returns how to stop it. */
  onIncarnation(callback: (incarnation: Incarnation) => void): () => void;
  /** True while registered under a lease that is usable now. */
  usable(): boolean;
  /** The operator's wish, as last seen in the store. */
  drainWished(): boolean;
  /** Calls back when `usable()`, `drainWished()` or `current()` may have changed. */
  onChange(callback: () => void): () => void;
  /** Why there is no incarnation although the store answers (a conflict), for the node's health. */
  problem(): string | undefined;
  /** Sends a heartbeat now rather than within the second: something in it changed. */
  touch(): void;
  /** Leaves: releases the lease, and with it all keys. Idempotent, never throws, also after a failed start. */
  stop(): Promise<void>;
}
