import { z } from "zod";
import { type Follower, follow } from "#config/follow.js";
import type {
  CallOptions,
  Coordination,
  Entry,
  Lease,
  Transaction,
  TransactionResult,
} from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Incarnation, NodeIdentity } from "./contract.js";

/** The one node that does the cluster's own work (expiry, notices, ticks): a key on its lease, with a growing generation. */

const holderSchema = z.object({
  incarnation: z.string(),
  id: z.string(),
  name: z.string(),
  /** Since when by the holder's clock, milliseconds since 1970. */
  since: z.number(),
});

export interface CoordinatorHolder {
  readonly incarnation: string;
  readonly id: string;
  readonly name: string;
  readonly since: number;
  /** The revision that made the key: each holder's is larger than all before. */
  readonly generation: number;
}

export interface CoordinatorSituation {
  /** Who holds the key, as the store said last. */
  readonly held: Pick<CoordinatorHolder, "incarnation"> | undefined;
  /** This process's incarnation, if its lease is usable now. */
  readonly own: string | undefined;
  /** Whether this node is well: one that drains, stops or is cut off coordinates nothing. */
  readonly ready: boolean;
}

/** `rest`: neither holder nor candidate. */
export type CoordinatorDecision = "campaign" | "work" | "resign" | "rest";

/**
 * Invariants: works only where the key names its own, usable incarnation and the node is ready; takes no key that another
 * incarnation still has, a former one of this very process included (that one's lease ends it).
 */
export function decideCoordinator({ held, own, ready }: CoordinatorSituation): CoordinatorDecision {
  if (own === undefined) return "rest";
  if (held === undefined) return ready ? "campaign" : "rest";
  if (held.incarnation !== own) return "rest";
  return ready ? "work" : "resign";
}

/**
 * A transaction that is applied only while `generation` holds the key: what a coordinator that was stopped for minutes
 * still sends changes nothing. The fence is the last compare, so `found` keeps the caller's order.
 */
export function fencedTransaction(generation: number, transaction: Transaction): Transaction {
  const fence = { key: keys.coordinator, is: "created-at" as const, revision: generation };
  return { compare: [...transaction.compare, fence], apply: transaction.apply };
}

/** The store as a tenure may change it: each transaction carries the fence. */
export function fencedCoordination(coordination: Coordination, tenure: Pick<Tenure, "transact">): Coordination {
  return {
    get: (key, options) => coordination.get(key, options),
    list: (prefix, options) => coordination.list(prefix, options),
    transact: (transaction, options) => tenure.transact(transaction, options),
    lease: (options) => coordination.lease(options),
    watch: (prefix, hint) => coordination.watch(prefix, hint),
    maxOperations: coordination.maxOperations - 1,
    close: () => Promise.resolve(),
  };
}

/** One time as the holder. */
export interface Tenure {
  readonly generation: number;
  /** Aborts when it is over, by our own clock before another node's can begin. */
  readonly signal: AbortSignal;
  /**
   * Applied only while this tenure lasts. Throws code `superseded` where it is over by our own reckoning or the store's;
   * `applied: false` where one of the caller's own compares failed; else as `Coordination.transact`.
   */
  transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>;
}

export interface CoordinatorOptions {
  readonly coordination: Coordination;
  readonly identity: NodeIdentity;
  readonly membership: { current(): Incarnation | undefined };
  /** Whether this node may coordinate: it is well. */
  readonly ready: () => boolean;
  /**
   * Each does its part until the tenure's signal aborts. What one throws is logged, and it is called again after a while,
   * whatever becomes of the others.
   */
  readonly works: readonly ((tenure: Tenure) => Promise<void>)[];
  readonly onEvent?: (event: "elected" | "resigned" | "lost", generation: number) => void;
  readonly logger: Logger;
}

export interface Coordinator {
  start(): void;
  /** As the store said last; undefined: nobody. */
  holder(): CoordinatorHolder | undefined;
  /** Whether this process holds it, and may work. */
  isHolder(): boolean;
  /** Looks now rather than at the next tick: the node's state changed. */
  check(): void;
  /** Resigns and lets the work end. Idempotent, never rejects. */
  stop(): Promise<void>;
}

const TICK_MS = 250;
/** Bounds what a silently stuck watch can hide. */
const RELIST_MS = 1_000;
const WORK_AGAIN_MS = 1_000;

export function createCoordinator(options: CoordinatorOptions): Coordinator {
  return new Elected(options);
}

class Elected implements Coordinator {
  readonly #options: CoordinatorOptions;
  #held: CoordinatorHolder | undefined;
  #tenure: { readonly generation: number; readonly over: AbortController; readonly done: Promise<unknown> } | undefined;
  #follower: Follower | undefined;
  #timer: NodeJS.Timeout | undefined;
  #acting: Promise<void> | undefined;
  #stopping = false;
  #stopped: Promise<void> | undefined;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#follower !== undefined) return;
    this.#follower = follow({
      coordination: this.#options.coordination,
      prefix: keys.coordinator,
      relistMs: RELIST_MS,
      onListing: ({ entries }) => {
        this.#held = holderIn(entries.find(({ key }) => key === keys.coordinator));
        this.check();
      },
    });
    this.#timer = setInterval(() => this.check(), TICK_MS).unref();
  }

  holder(): CoordinatorHolder | undefined {
    return this.#held;
  }

  isHolder(): boolean {
    return this.#tenure !== undefined && !this.#tenure.over.signal.aborted && this.#usable() !== undefined;
  }

  check(): void {
    const held = this.#held;
    const own = this.#usable();
    const ready = !this.#stopping && this.#options.ready();
    const decision = decideCoordinator({ held, own: own?.incarnation, ready });
    if (decision !== "work" || held?.generation !== this.#tenure?.generation) this.#end(decision !== "resign");
    if (decision === "work" && held !== undefined && own !== undefined) this.#begin(held.generation, own.lease);
    if ((decision !== "campaign" && decision !== "resign") || own === undefined || this.#acting !== undefined) return;
    this.#acting = (decision === "campaign" ? this.#campaign(own) : this.#resign()).finally(() => {
      this.#acting = undefined;
      this.#follower?.refresh();
    });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  #usable(): Incarnation | undefined {
    const current = this.#options.membership.current();
    return current?.lease.usable() ? current : undefined;
  }

  async #campaign({ incarnation, lease }: Incarnation): Promise<void> {
    const { coordination, identity, logger } = this.#options;
    const { id, name } = identity;
    const value = JSON.stringify({ incarnation, id, name, since: Date.now() });
    try {
      await coordination.transact({
        compare: [{ key: keys.coordinator, is: "absent" }],
        apply: [{ put: keys.coordinator, value, lease: lease.id }],
      });
    } catch (error) {
      // also where it may have been applied: the next listing says who it is
      logger.debug("a try to become the coordinator is open", { error: String(error) });
    }
  }

  async #resign(): Promise<void> {
    const held = this.#held;
    if (held === undefined) return;
    const { coordination, logger } = this.#options;
    try {
      await coordination.transact({
        compare: [{ key: keys.coordinator, is: "created-at", revision: held.generation }],
        apply: [{ delete: keys.coordinator }],
      });
      this.#held = undefined;
      this.#options.onEvent?.("resigned", held.generation);
      logger.info("this node coordinates no longer: it isn't ready", { generation: held.generation });
    } catch (error) {
      logger.warn("the coordinator's key could not be given up: it ends with the lease", { error: String(error) });
      await pause(TICK_MS);
    }
  }

  #begin(generation: number, lease: Lease): void {
    if (this.#tenure !== undefined) return;
    const { coordination, logger, works, onEvent } = this.#options;
    const over = new AbortController();
    const tenure: Tenure = {
      generation,
      signal: over.signal,
      transact: async (transaction, callOptions) => {
        // by the lease's own clock: a process that slept for minutes may not have run its timers yet
        if (over.signal.aborted || !lease.usable()) throw tenureOver();
        const result = await coordination.transact(fencedTransaction(generation, transaction), callOptions);
        if (result.applied) return result;
        const fence = result.found[transaction.compare.length]?.[0];
        if (fence?.createRevision === generation) return result;
        over.abort();
        throw tenureOver();
      },
    };
    logger.info("this node is the coordinator", { generation });
    onEvent?.("elected", generation);
    const doing = async (work: (tenure: Tenure) => Promise<void>) => {
      while (!over.signal.aborted) {
        try {
          await work(tenure);
          return;
        } catch (error) {
          if (over.signal.aborted) return;
          logger.error("the coordinator's work failed; it is tried again", { error: String(error) });
          await pause(WORK_AGAIN_MS, over.signal);
        }
      }
    };
    const done = Promise.all(works.map(doing));
    this.#tenure = { generation, over, done };
  }

  /** `lost`: it wasn't given up, which says so by itself. */
  #end(lost: boolean): void {
    const tenure = this.#tenure;
    if (tenure === undefined) return;
    this.#tenure = undefined;
    tenure.over.abort();
    if (!lost) return;
    this.#options.onEvent?.("lost", tenure.generation);
    this.#options.logger.warn("this node is no longer the coordinator", { generation: tenure.generation });
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#timer);
    const done = this.#tenure?.done;
    const held = this.#held;
    const mine = this.#tenure !== undefined && held !== undefined;
    this.#end(false);
    await this.#acting;
    this.#follower?.close();
    if (mine && this.#usable() !== undefined) await this.#resign();
    await done;
  }
}

function tenureOver(): LongshoreError {
  return new LongshoreError("superseded", "this node isn't the coordinator any more");
}

function holderIn(entry: Entry | undefined): CoordinatorHolder | undefined {
  if (entry === undefined) return undefined;
  try {
    return { ...holderSchema.parse(JSON.parse(entry.value)), generation: entry.createRevision };
  } catch {
    // of a version that we don't understand: somebody's it is, and its lease ends it
    return { incarnation: "unknown", id: "", name: "unknown", since: 0, generation: entry.createRevision };
  }
}
