import { type Follower, follow } from "#config/follow.js";
import type { Coordination, LeaseOptions } from "#coordination/contract.js";
import { LeaseGoneError, OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import { newIncarnation, processStatus } from "#lib/incarnation.js";
import type { Logger } from "#lib/logger.js";
import type { Heartbeat, Incarnation, Membership, NodeIdentity, NodeRecord } from "./contract.js";
import { NodeConflictError } from "./errors.js";
import { DRAIN } from "./intents.js";
import { claimKeys, parseHolder, planRegistration, registration } from "./registration.js";

export interface MembershipOptions {
  readonly coordination: Coordination;
  readonly identity: NodeIdentity;
  /** Asked for each heartbeat; must be quick. */
  readonly heartbeat: () => Heartbeat;
  readonly logger: Logger;
  /** Defaults of the coordination contract. */
  readonly lease?: LeaseOptions;
  /** Between heartbeats, in milliseconds. Default 1,000. */
  readonly heartbeatMs?: number;
  /**
   * How long a first registration waits for another's claim to end, in milliseconds; the lease of a node that died
   * just now takes its time to live. Default 6,000.
   */
  readonly patienceMs?: number;
}

const HEARTBEAT_MS = 1_000;
const PATIENCE_MS = 6_000;
/** Changes of one moment go into one heartbeat. */
const GATHER_MS = 20;
const CONFLICT_RETRY_MS = 250;
/** A waiting node says so again after so many tries. */
const SAY_EVERY = 15;

/** One registration that holds: the incarnation, and what its next heartbeat compares. */
interface Registered extends Incarnation {
  /** Of `nodes/<id>`; undefined after a heartbeat whose outcome is unknown. */
  nodeRevision: number | undefined;
}

/** Keeps this process registered under a lease, and begins a new incarnation whenever that lease is lost. */
export function createMembership(options: MembershipOptions): Membership {
  return new Member(options);
}

class Member implements Membership {
  readonly #coordination: Coordination;
  readonly #identity: NodeIdentity;
  readonly #logger: Logger;
  readonly #options: MembershipOptions;
  readonly #stopping = new AbortController();
  readonly #changeCallbacks = new Set<() => void>();
  readonly #incarnationCallbacks = new Set<(incarnation: Incarnation) => void>();
  /** All incarnations that this process tried to begin: a claim of theirs is no conflict. */
  readonly #ours = new Set<string>();
  #registered: Registered | undefined;
  #problem: string | undefined;
  #drainWished = false;
  #intents: Follower | undefined;
  #starting: Promise<void> | undefined;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #touched = false;
  #wake: (() => void) | undefined;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.#coordination = options.coordination;
    this.#identity = options.identity;
    this.#logger = options.logger;
  }

  async start(signal?: AbortSignal): Promise<void> {
    if (this.#starting !== undefined) throw new LongshoreError("invalid-argument", "membership is started once");
    const onAbort = () => this.#stopping.abort();
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) onAbort();
    try {
      this.#intents = this.#followIntent();
      this.#starting = this.#register(true);
      await this.#starting;
      this.#running = this.#run();
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  current(): Incarnation | undefined {
    return this.#registered;
  }

  usable(): boolean {
    return this.#registered?.lease.usable() ?? false;
  }

  drainWished(): boolean {
    return this.#drainWished;
  }

  problem(): string | undefined {
    return this.#problem;
  }

  onIncarnation(callback: (incarnation: Incarnation) => void): () => void {
    this.#incarnationCallbacks.add(callback);
    return () => void this.#incarnationCallbacks.delete(callback);
  }

  onChange(callback: () => void): () => void {
    this.#changeCallbacks.add(callback);
    return () => void this.#changeCallbacks.delete(callback);
  }

  touch(): void {
    this.#touched = true;
    this.#wake?.();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake?.();
    this.#intents?.close();
    // A registration that was under way when we were stopped may still succeed, and must be undone.
    await this.#starting?.catch(() => {});
    await this.#running;
    const registered = this.#registered;
    this.#registered = undefined;
    await registered?.lease.release();
  }

  /** Heartbeats as long as the lease holds, then a new incarnation, and so on. Never rejects. */
  async #run(): Promise<void> {
    const stopping = this.#stopping.signal;
    while (!stopping.aborted) {
      try {
        if (this.#registered === undefined) await this.#register(false);
        else if (this.#registered.lease.ended()) this.#lose("the store ended the lease");
        else {
          await this.#beat(this.#registered);
          await this.#untilNextBeat();
        }
      } catch (error) {
        if (stopping.aborted) return;
        this.#logger.error("membership failed and tries again", { error });
        await pause(HEARTBEAT_MS, stopping);
      }
    }
  }

  async #untilNextBeat(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    if (!this.#touched) {
      const nap = new AbortController();
      this.#wake = () => nap.abort();
      await pause(this.#options.heartbeatMs ?? HEARTBEAT_MS, nap.signal);
      this.#wake = undefined;
    }
    if (this.#touched) await pause(GATHER_MS, this.#stopping.signal);
  }

  /** Resolves with an incarnation begun. Waits for the store; the first time it doesn't wait long for another node. */
  async #register(first: boolean): Promise<void> {
    const stopping = this.#stopping.signal;
    const backoff = createBackoff({ firstMs: 200, mostMs: 1_000 });
    let conflictSince: number | undefined;
    while (!stopping.aborted) {
      let conflict: string | undefined;
      try {
        conflict = await this.#tryRegister(first);
        if (conflict === undefined) return;
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (backoff.failures % SAY_EVERY === 0) {
          this.#logger.warn("waiting for the coordination store to register this node", { error });
        }
        await backoff.wait(stopping);
        continue;
      }
      const now = monotonicMs();
      conflictSince ??= now;
      if (this.#problem !== conflict) {
        this.#logger.warn("waiting for another node to let go of this node's identity", { reason: conflict });
        this.#problem = conflict;
        this.#changed();
      }
      if (first && now - conflictSince >= (this.#options.patienceMs ?? PATIENCE_MS))
        throw new NodeConflictError(conflict);
      await pause(CONFLICT_RETRY_MS, stopping);
    }
    throw new LongshoreError("closed", "stopped while registering");
  }

  /** One try; returns the conflict that stands in the way, if one does. */
  async #tryRegister(first: boolean): Promise<string | undefined> {
    const held = await Promise.all(claimKeys(this.#identity).map((key) => this.#coordination.get(key)));
    const plan = planRegistration({ identity: this.#identity, held, statusOf: processStatus, ours: this.#ours, first });
    if (!plan.register) return plan.conflict;

    const incarnation = newIncarnation(this.#identity.id);
    const lease = await this.#coordination.lease(this.#options.lease);
    let begun = false;
    try {
      this.#ours.add(incarnation);
      const record = this.#record(incarnation);
      const result = await this.#coordination.transact(
        registration(this.#identity, incarnation, lease.id, record, plan),
      );
      // Somebody was faster, or a heartbeat of a former life came in between: look again.
      if (!result.applied) throw new StoreUnavailableError("the registration was overtaken");
      begun = true;
      if (plan.deadOwners.length > 0)
        this.#logger.info("took over from a process that is gone", { dead: plan.deadOwners });
      this.#begin({ incarnation, lease, ownerRevision: result.revision, nodeRevision: result.revision });
      return undefined;
    } finally {
      // Whatever an unknown outcome left behind hangs on this lease and goes with it.
      if (!begun) await lease.release();
    }
  }

  #begin(registered: Registered): void {
    this.#registered = registered;
    // Nobody shall start work under it: it is there only to be released.
    if (this.#stopping.signal.aborted) return;
    this.#problem = undefined;
    // Only the living incarnation can be met in a claim from now on.
    this.#ours.clear();
    this.#ours.add(registered.incarnation);
    const { lease, incarnation } = registered;
    this.#logger.info("registered in the cluster", { incarnation, lease: lease.id, slot: this.#identity.slot });
    lease.onEnded(() => this.touch());
    lease.onUsableChange((usable) => {
      if (this.#registered !== registered) return;
      if (usable) this.#logger.info("the lease is usable again", { incarnation });
      else this.#logger.warn("the lease isn't usable: no commit starts here until the store answers", { incarnation });
      this.#changed();
    });
    for (const callback of [...this.#incarnationCallbacks]) callback(registered);
    this.#changed();
  }

  #lose(reason: string): void {
    const lost = this.#registered;
    if (lost === undefined) return;
    this.#registered = undefined;
    this.#logger.warn("this incarnation is over; registering again", { incarnation: lost.incarnation, reason });
    void lost.lease.release();
    this.#changed();
  }

  /** Throws nothing that passes by itself. */
  async #beat(registered: Registered): Promise<void> {
    this.#touched = false;
    const { incarnation, lease, ownerRevision } = registered;
    const key = keys.node(this.#identity.id);
    try {
      if (registered.nodeRevision === undefined) registered.nodeRevision = await this.#ownNodeRevision(registered);
      if (registered.nodeRevision === undefined) return;
      const result = await this.#coordination.transact({
        compare: [
          { key: keys.owner(incarnation), is: "created-at", revision: ownerRevision },
          { key, is: "modified-at", revision: registered.nodeRevision },
        ],
        apply: [{ put: key, value: this.#record(incarnation), lease: lease.id }],
      });
      if (result.applied) registered.nodeRevision = result.revision;
      else if (result.found[0]?.[0] === undefined) this.#lose("its owner key is gone from the store");
      else {
        registered.nodeRevision = undefined;
        this.touch();
      }
    } catch (error) {
      if (error instanceof OutcomeUnknownError) registered.nodeRevision = undefined;
      if (error instanceof LeaseGoneError) this.#lose("the lease is gone from the store");
      else if (!isPassing(error)) throw error;
      else this.#logger.debug("a heartbeat wasn't taken", { error });
    }
  }

  /** Finds out, after a doubtful heartbeat, what the next one compares; undefined where the incarnation ended instead. */
  async #ownNodeRevision(registered: Registered): Promise<number | undefined> {
    const entry = await this.#coordination.get(keys.node(this.#identity.id));
    if (entry !== undefined && parseHolder(entry.value)?.incarnation === registered.incarnation)
      return entry.modRevision;
    this.#lose(
      entry === undefined ? "its node key is gone from the store" : "another process took over this node's id",
    );
    return undefined;
  }

  #record(incarnation: string): string {
    const { id, name, slot, labels, version, addresses } = this.#identity;
    const { state, reasons, revision, hash, lagMs, load, sealKeys, certificates } = this.#options.heartbeat();
    const record: NodeRecord = {
      id,
      name,
      slot,
      labels,
      version,
      addresses,
      incarnation,
      state,
      reasons: [...reasons],
      revision,
      hash,
      lagMs: Math.round(lagMs),
      load,
      ...(sealKeys === undefined ? {} : { sealKeys: [...sealKeys] }),
      ...(certificates === undefined ? {} : { certificates: [...certificates] }),
      at: Date.now(),
    };
    return JSON.stringify(record);
  }

  #followIntent(): Follower {
    const key = keys.intent(this.#identity.id);
    return follow({
      coordination: this.#coordination,
      prefix: key,
      onListing: (listing) => {
        const wished = listing.entries.some((entry) => entry.key === key && entry.value === DRAIN);
        if (wished === this.#drainWished) return;
        this.#drainWished = wished;
        this.#logger.info(wished ? "an administrator drains this node" : "an administrator ended the drain");
        this.#changed();
      },
    });
  }

  #changed(): void {
    for (const callback of [...this.#changeCallbacks]) callback();
    this.touch();
  }
}

/** The store doesn't answer, answers nothing sure, or the lease went in between: all of that mends by trying again. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof StoreUnavailableError || error instanceof OutcomeUnknownError || error instanceof LeaseGoneError
  );
}
