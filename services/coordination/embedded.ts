import { join } from "node:path";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type {
  CallOptions,
  Compare,
  Coordination,
  Entry,
  Lease,
  LeaseOptions,
  Listing,
  ListOptions,
  Operation,
  Revision,
  Transaction,
  TransactionResult,
  Watch,
  WatchHint,
} from "./contract.js";
import { EmbeddedLease } from "./embedded-lease.js";
import { lockFile } from "./embedded-lock.js";
import { EmbeddedTables, makeDirectory } from "./embedded-tables.js";
import { LeaseGoneError, OutcomeUnknownError, StoreUnavailableError } from "./errors.js";
import { leaseTimes } from "./lease-reckoning.js";
import { assertKey, assertListing, assertPrefix, assertTransaction } from "./transaction-rules.js";

const DEFAULT_DEADLINE_MS = 2_000;
/** The same as our etcd servers', so that no code grows past what a cluster can take. */
const MAX_OPERATIONS = 1_024;
/** Transactions that one sync to the disk may carry. */
const MAX_BATCH = 512;

export interface EmbeddedOptions {
  /** Where the store lies: on a disk of this host, never on a network share (its lock and its memory map need that). */
  readonly directory: string;
  readonly logger?: Logger;
}

/**
 * The coordination store of a standalone node: one process, one directory. Throws `StoreUnavailableError` where another
 * process has it open. Keys on leases of a former process are gone when it returns.
 */
export function createEmbeddedCoordination(options: EmbeddedOptions): Coordination {
  makeDirectory(options.directory);
  const unlock = lockFile(join(options.directory, "lock"));
  try {
    return new EmbeddedCoordination(new EmbeddedTables(options.directory), unlock, options.logger);
  } catch (error) {
    unlock();
    throw error;
  }
}

/** What one job did: `revision` is the store's after it; `keys` are those that it changed. */
interface Outcome {
  readonly revision: Revision;
  readonly keys: readonly string[];
  /** Runs once all this is on the disk. */
  settle(): void;
}

interface Job {
  /** Runs inside the LMDB transaction. Decides first, writes then: once it has written, it must not throw. */
  evaluate(revision: Revision): Outcome;
  fail(error: Error): void;
  started: boolean;
}

class EmbeddedCoordination implements Coordination {
  readonly maxOperations = MAX_OPERATIONS;
  readonly #tables: EmbeddedTables;
  readonly #unlock: () => void;
  readonly #logger: Logger | undefined;
  readonly #leases = new Map<string, EmbeddedLease>();
  readonly #watches = new Set<{ readonly prefix: string; readonly tell: (hint: WatchHint) => void }>();
  #queue: Job[] = [];
  #flushing: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  constructor(tables: EmbeddedTables, unlock: () => void, logger: Logger | undefined) {
    this.#tables = tables;
    this.#unlock = unlock;
    this.#logger = logger;
    // A lease lives in its process; those of a former one can't be kept alive by anybody.
    const orphans = tables.keysOfLease();
    if (orphans.length > 0) {
      tables.writeSync(() => {
        const revision = tables.revision() + 1;
        for (const key of orphans) this.#deleteOne(key);
        tables.setRevision(revision);
      });
    }
  }

  async get(key: string, _options: CallOptions = {}): Promise<Entry | undefined> {
    assertKey(key);
    await this.#readable();
    return this.#reading(`reading ${key}`, () => this.#tables.get(key));
  }

  async list(prefix: string, options: ListOptions = {}): Promise<Listing> {
    assertPrefix(prefix);
    assertListing(options);
    await this.#readable();
    return this.#reading(`listing ${prefix}`, () => {
      const entries = this.#tables.scan(prefix, options.limit);
      const { changedSince } = options;
      const asked =
        changedSince === undefined ? entries : entries.filter(({ modRevision }) => modRevision > changedSince);
      return {
        entries: options.keysOnly ? asked.map((entry) => ({ ...entry, value: "" })) : asked,
        revision: this.#tables.revision(),
        ...(changedSince === undefined ? {} : { total: entries.length }),
      };
    });
  }

  async transact(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    assertTransaction(transaction, MAX_OPERATIONS);
    this.#assertOpen();
    // A process that slept too long must not act on a lease of its former life: its keys go first.
    void this.#expireLeases();
    return new Promise<TransactionResult>((resolve, reject) => {
      const job: Job = {
        started: false,
        evaluate: (revision) => {
          const { result, keys } = this.#evaluate(transaction, revision);
          const settle = () => {
            clearTimeout(timer);
            if (result instanceof Error) reject(result);
            else resolve(result);
          };
          return { revision: result instanceof Error ? revision : result.revision, keys, settle };
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        if (job.started) {
          job.fail(new OutcomeUnknownError("the disk didn't confirm the transaction in time; it may be applied yet"));
          return;
        }
        this.#queue = this.#queue.filter((one) => one !== job);
        job.fail(new StoreUnavailableError("the transaction's turn didn't come in time; it was not applied"));
      }, options.deadlineMs ?? DEFAULT_DEADLINE_MS);
      this.#enqueue(job);
    });
  }

  async lease(options?: LeaseOptions): Promise<Lease> {
    const times = leaseTimes(options);
    this.#assertOpen();
    const lease = new EmbeddedLease(times, this.#logger, (one) => this.#endLease(one));
    this.#leases.set(lease.id, lease);
    return lease;
  }

  watch(prefix: string, hint: (hint: WatchHint) => void): Watch {
    assertPrefix(prefix);
    this.#assertOpen();
    const tell = (one: WatchHint) => {
      if (!this.#watches.has(watch)) return;
      try {
        hint(one);
      } catch (error) {
        this.#logger?.error("a watch listener threw", { prefix, error: String(error) });
      }
    };
    const watch = { prefix, tell };
    this.#watches.add(watch);
    // Before anything that is committed from now on can be told.
    queueMicrotask(() => tell({ kind: "resync" }));
    return { close: () => this.#watches.delete(watch) };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    for (const job of this.#queue.splice(0)) job.fail(new StoreUnavailableError("the store was closed"));
    for (const lease of this.#leases.values()) lease.abandon();
    this.#leases.clear();
    this.#watches.clear();
    await this.#flushing;
    try {
      await this.#tables.close();
    } finally {
      this.#unlock();
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new StoreUnavailableError("the coordination store is closed");
  }

  async #readable(): Promise<void> {
    this.#assertOpen();
    await this.#expireLeases();
    this.#assertOpen();
  }

  #reading<T>(what: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw new StoreUnavailableError(`${what}: ${String(error)}`, error);
    }
  }

  /** Decides, then writes. Runs inside an LMDB transaction, so it sees what the jobs before it in the batch wrote. */
  #evaluate(
    transaction: Transaction,
    revision: Revision,
  ): { result: TransactionResult | LeaseGoneError; keys: readonly string[] } {
    const found = transaction.compare.map((one) => this.#found(one));
    if (!transaction.compare.every((one, i) => holds(one, found[i] ?? []))) {
      return { result: { applied: false, revision, found }, keys: [] };
    }
    for (const one of transaction.apply) {
      if ("put" in one && one.lease !== undefined && !this.#leases.has(one.lease)) {
        return { result: new LeaseGoneError(one.lease), keys: [] };
      }
    }
    const next = revision + 1;
    const keys: string[] = [];
    for (const one of transaction.apply) this.#apply(one, next, keys);
    // As in etcd: a transaction that changed nothing doesn't move the revision.
    return { result: { applied: true, revision: keys.length > 0 ? next : revision }, keys };
  }

  #found(one: Compare): readonly Entry[] {
    if ("prefix" in one) return this.#tables.scan(one.prefix, 1);
    const entry = this.#tables.get(one.key);
    return entry ? [entry] : [];
  }

  #apply(one: Operation, revision: Revision, keys: string[]): void {
    if ("put" in one) {
      const before = this.#tables.get(one.put);
      this.#tables.put({
        key: one.put,
        value: one.value,
        createRevision: before?.createRevision ?? revision,
        modRevision: revision,
        ...(one.lease === undefined ? {} : { lease: one.lease }),
      });
      keys.push(one.put);
    } else if ("delete" in one) {
      if (this.#deleteOne(one.delete)) keys.push(one.delete);
    } else {
      for (const entry of this.#tables.scan(one.deletePrefix)) {
        this.#tables.delete(entry);
        keys.push(entry.key);
      }
    }
  }

  #deleteOne(key: string): boolean {
    const entry = this.#tables.get(key);
    if (entry) this.#tables.delete(entry);
    return entry !== undefined;
  }

  /** Ends the leases whose time ran out while this process slept; resolves when their keys are gone. */
  #expireLeases(): Promise<unknown> | undefined {
    const now = monotonicMs();
    const expired = [...this.#leases.values()].filter((lease) => lease.expiresAt() <= now);
    return expired.length > 0 ? Promise.all(expired.map((lease) => lease.release())) : undefined;
  }

  /** Forgets the lease at once and deletes its keys; resolves when that is on the disk, or never will be from here. */
  #endLease(lease: EmbeddedLease): Promise<void> {
    this.#leases.delete(lease.id);
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#enqueue({
        started: false,
        evaluate: (revision) => {
          const keys = this.#tables.keysOfLease(lease.id);
          for (const key of keys) this.#deleteOne(key);
          return { revision: keys.length > 0 ? revision + 1 : revision, keys, settle: resolve };
        },
        fail: (error) => {
          // The next process to open the store deletes them.
          this.#logger?.error("the keys of an ended lease were not deleted", { lease: lease.id, error: error.message });
          resolve();
        },
      });
    });
  }

  #enqueue(job: Job): void {
    this.#queue.push(job);
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
    });
  }

  /** Writes batch after batch: while one is being synced, the next one gathers. */
  async #flush(): Promise<void> {
    // One turn of the event loop, so that the first batch gathers what comes with its first job.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, MAX_BATCH);
      for (const job of batch) job.started = true;
      let evaluated: Outcome[] | undefined;
      try {
        await this.#tables.write(() => {
          evaluated = this.#evaluateBatch(batch);
        });
      } catch (error) {
        this.#failBatch(batch, evaluated !== undefined, error);
        continue;
      }
      for (const outcome of evaluated ?? []) {
        outcome.settle();
        if (outcome.keys.length > 0) this.#tellWatches(outcome);
      }
    }
  }

  #evaluateBatch(batch: readonly Job[]): Outcome[] {
    const before = this.#tables.revision();
    let revision = before;
    const outcomes = batch.map((job) => {
      const outcome = job.evaluate(revision);
      revision = outcome.revision;
      return outcome;
    });
    if (revision !== before) this.#tables.setRevision(revision);
    return outcomes;
  }

  /**
   * The store goes on after a failed commit: LMDB never overwrites pages of the last good one, so a disk that was full
   * or failed for a moment costs this batch alone. Where its root page itself could not be written, LMDB refuses all
   * that follows.
   */
  #failBatch(batch: readonly Job[], evaluated: boolean, error: unknown): void {
    this.#logger?.error("the embedded store could not write; check its disk", { error: String(error) });
    for (const job of batch) {
      // Until the commit began, LMDB has nothing of it; from then on only the disk knows.
      job.fail(
        evaluated
          ? new OutcomeUnknownError("the disk failed or is full; the transaction may have been written", error)
          : new StoreUnavailableError("the transaction could not be written and was not applied", error),
      );
    }
  }

  #tellWatches(outcome: Outcome): void {
    for (const watch of this.#watches) {
      const keys = outcome.keys.filter((key) => key.startsWith(watch.prefix));
      if (keys.length > 0) watch.tell({ kind: "changed", keys, revision: outcome.revision });
    }
  }
}

function holds(one: Compare, found: readonly Entry[]): boolean {
  const entry = found[0];
  switch (one.is) {
    case "absent":
    case "empty":
      return entry === undefined;
    case "modified-at":
      return entry?.modRevision === one.revision;
    case "created-at":
      return entry?.createRevision === one.revision;
  }
}
