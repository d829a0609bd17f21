/**
 * The coordination store: what nodes share besides files. Two backends (etcd.ts, embedded.ts), one contract suite
 * (test/contract/coordination.test.ts).
 *
 * Every call has a deadline. Reads and lists may be repeated freely. A transaction whose answer is lost throws
 * `OutcomeUnknownError`: it may or may not have been applied, and only the caller knows how to find out (its fence).
 * Keys are relative to the site's prefix (`/longshore/<site>/`), which the backend adds and strips.
 */

/** The store's global, growing number. Every change has one; entries carry the one that made and last changed them. */
export type Revision = number;

export interface Entry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** Id of the lease that the key hangs on, if any. */
  readonly lease?: string;
}

/** What must hold for a transaction to be applied. */
export type Compare =
  /** The key doesn't exist. */
  | { readonly key: string; readonly is: "absent" }
  /** The key exists and was last changed at `revision`. */
  | { readonly key: string; readonly is: "modified-at"; readonly revision: Revision }
  /** The key exists and was created at `revision` (fencing by a lease's generation). */
  | { readonly key: string; readonly is: "created-at"; readonly revision: Revision }
  /** No key starts with this prefix. */
  | { readonly prefix: string; readonly is: "empty" };

export type Operation =
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly delete: string }
  | { readonly deletePrefix: string };

export interface Transaction {
  readonly compare: readonly Compare[];
  readonly apply: readonly Operation[];
}

export type TransactionResult =
  | { readonly applied: true; readonly revision: Revision }
  /** `found[i]` are the entries that `compare[i]` met (for a prefix: at most one), read in the same transaction. */
  | { readonly applied: false; readonly revision: Revision; readonly found: readonly (readonly Entry[])[] };

export interface CallOptions {
  /** Milliseconds until the call gives up. Default 2,000. */
  readonly deadlineMs?: number;
}

export interface ListOptions extends CallOptions {
  /** At most so many entries, from 1. Default: all, fetched in pages at one revision. */
  readonly limit?: number;
  /** Keys only: values come back empty. */
  readonly keysOnly?: boolean;
  /** Only entries that were last changed after this revision. Not with `limit`. What was deleted shows in `total` alone. */
  readonly changedSince?: Revision;
}

export interface Listing {
  readonly entries: readonly Entry[];
  /** The revision that the listing shows, whole. */
  readonly revision: Revision;
  /** With `changedSince`: how many entries there are at that revision, changed or not. */
  readonly total?: number;
}

/**
 * A lease of our own reckoning: it counts from the moment when the last successful keep-alive was SENT, so it ends here
 * before it can end in the store. `usable()` is what work must ask before it starts something; the compare on
 * the keys that hang on the lease is what makes it safe.
 */
export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  /** False from `stopAfterMs` after the last successfully answered keep-alive was sent. May become true again. */
  usable(): boolean;
  /** True once the store said that the lease is gone, or it was released. Never becomes false again. */
  ended(): boolean;
  /** Calls back once when `ended()` becomes true, or soon where it already is. */
  onEnded(callback: () => void): void;
  /** Calls back whenever `usable()` changes (checked by timer, so up to 100 ms late; `usable()` itself is exact). */
  onUsableChange(callback: (usable: boolean) => void): void;
  /** Ends the lease in the store, and with it its keys. Never throws; idempotent. */
  release(): Promise<void>;
}

export interface LeaseOptions {
  /** Time to live in the store. Default 3,000 ms; whole seconds, at least 2 s (etcd grants no less). */
  readonly ttlMs?: number;
  /** Keep-alive period. Default 750 ms. */
  readonly keepAliveMs?: number;
  /** Own stop, from the last successfully sent keep-alive. Default 2/3 of the TTL. */
  readonly stopAfterMs?: number;
}

/** What a watch saw. It is a hint: after `resync`, and after any gap, the follower lists again. */
export type WatchHint =
  | { readonly kind: "changed"; readonly keys: readonly string[]; readonly revision: Revision }
  /** (Re)connected, compacted, or in doubt: list again and reconcile by revision. Sent once at the start, too. */
  | { readonly kind: "resync" };

export interface Watch {
  close(): void;
}

export interface Coordination {
  /** Linearizable. Throws `StoreUnavailableError`. */
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;
  /**
   * Linearizable, all pages at one revision (a compaction in between starts it over). Sorted by the keys' UTF-8 bytes.
   * The deadline is the whole list's: give a long one more. Throws `StoreUnavailableError`.
   */
  list(prefix: string, options?: ListOptions): Promise<Listing>;
  /**
   * Compare and set, atomically. Never repeated by the backend. Throws `OutcomeUnknownError` where it may have been
   * applied, `StoreUnavailableError` where it certainly wasn't, `LeaseGoneError` where a put names a lease that doesn't
   * exist (looked at only when the compares hold). One with too many operations or bytes, or that changes a key twice,
   * is refused before it is sent: `LongshoreError` with `limit` or `invalid-argument`. One that changes nothing leaves
   * the revision as it is.
   */
  transact(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>;
  /** Grants a lease and keeps it alive, over any member that answers. Throws `StoreUnavailableError`. */
  lease(options?: LeaseOptions): Promise<Lease>;
  /** Follows a prefix. Reconnects by itself for ever; `hint` is never called after `close()`. */
  watch(prefix: string, hint: (hint: WatchHint) => void): Watch;
  /** How many operations or compares one transaction may hold. */
  readonly maxOperations: number;
  /**
   * Ends connections, watches and keep-alives (leases themselves run out). Calls in flight end with
   * `OutcomeUnknownError` or `StoreUnavailableError`, later ones with the latter. Idempotent.
   */
  close(): Promise<void>;
}
