import type { IRangeResponse, ITxnResponse } from "etcd3/lib/rpc.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type {
  CallOptions,
  Coordination,
  Entry,
  Lease,
  LeaseOptions,
  Listing,
  ListOptions,
  Transaction,
  TransactionResult,
  Watch,
  WatchHint,
} from "./contract.js";
import { StoreUnavailableError } from "./errors.js";
import { EtcdCodec } from "./etcd-codec.js";
import { EtcdCredentials, type EtcdTls } from "./etcd-credentials.js";
import { EndpointSet } from "./etcd-endpoints.js";
import { isCompacted, readError, transactionError } from "./etcd-errors.js";
import { grantEtcdLease } from "./etcd-lease.js";
import { followPrefix } from "./etcd-watch.js";
import { assertAfter, assertKey, assertListing, assertPrefix, assertTransaction } from "./transaction-rules.js";

export type { EtcdTls } from "./etcd-credentials.js";

/** Default of `CallOptions.deadlineMs`. */
export const DEFAULT_DEADLINE_MS = 2_000;
/** Operations in one transaction: what our own etcd servers are started with (`--max-txn-ops=1024`). */
export const DEFAULT_MAX_OPERATIONS = 1_024;
/** Entries in the first page of a list, then as many as keep a page near `PAGE_BYTES`. */
const FIRST_PAGE = 128;
const LARGEST_PAGE = 4_096;
const PAGE_BYTES = 2 * 1024 * 1024;

export interface EtcdOptions {
  /** `host:port` or `https://host:port` of each member, the preferred one (the nearest) first. */
  readonly endpoints: readonly string[];
  /** Name of the site: its keys live below `/longshore/<site>/`. */
  readonly site: string;
  /** Mutual TLS: etcd's user is the common name of `cert`. */
  readonly tls?: EtcdTls;
  /** The servers' `--max-txn-ops`. Default 1,024. */
  readonly maxOperations?: number;
  readonly logger?: Logger;
}

export interface EtcdStore extends Coordination {
  /** From now on new connections are made with `tls`, for a store that was made with some. Those that stand stay. */
  renewTls(tls: EtcdTls): void;
}

/** The coordination store on etcd 3.4 or later. It connects at the first call. */
export function createEtcdCoordination(options: EtcdOptions): EtcdStore {
  return new EtcdCoordination(options);
}

class EtcdCoordination implements EtcdStore {
  readonly maxOperations: number;
  readonly #credentials: EtcdCredentials | undefined;
  readonly #codec: EtcdCodec;
  readonly #endpoints: EndpointSet;
  readonly #logger: Logger | undefined;

  constructor(options: EtcdOptions) {
    this.maxOperations = options.maxOperations ?? DEFAULT_MAX_OPERATIONS;
    this.#logger = options.logger;
    this.#codec = new EtcdCodec(options.site);
    this.#credentials = options.tls && new EtcdCredentials(options.tls);
    this.#endpoints = new EndpointSet(options.endpoints, this.#credentials, options.logger);
  }

  renewTls(tls: EtcdTls): void {
    this.#credentials?.renew(tls);
  }

  async get(key: string, options: CallOptions = {}): Promise<Entry | undefined> {
    assertKey(key);
    const what = `reading ${key}`;
    try {
      const response = await this.#range(
        { key: this.#codec.key(key) },
        options.deadlineMs ?? DEFAULT_DEADLINE_MS,
        what,
      );
      const kv = response.kvs[0];
      return kv && this.#codec.entry(kv);
    } catch (error) {
      throw readError(error, what);
    }
  }

  async list(prefix: string, options: ListOptions = {}): Promise<Listing> {
    assertPrefix(prefix);
    assertListing(options);
    assertAfter(prefix, options.after);
    const until = monotonicMs() + (options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    for (;;) {
      try {
        return await this.#pages(prefix, options, until);
      } catch (error) {
        // The revision of the first page is gone: a listing must show one revision whole, so it starts over.
        if (isCompacted(error) && monotonicMs() < until) {
          this.#logger?.debug("a list starts over, because its revision was compacted", { prefix });
          continue;
        }
        throw readError(error, `listing ${prefix}`);
      }
    }
  }

  async transact(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    assertTransaction(transaction, this.maxOperations);
    const until = monotonicMs() + (options.deadlineMs ?? DEFAULT_DEADLINE_MS);
    // Until a connection is up, nothing is sent: another member may be tried. From then on there is one attempt.
    const endpoint = await this.#endpoints.connected("KV", until - monotonicMs());
    const leftMs = until - monotonicMs();
    if (leftMs <= 0) throw new StoreUnavailableError("no time was left to send the transaction");
    let response: ITxnResponse;
    try {
      response = await endpoint.unary<ITxnResponse>("KV", "txn", this.#codec.transaction(transaction), leftMs);
    } catch (error) {
      throw transactionError(error, leasesOf(transaction), transaction.apply.length > 0);
    }
    const revision = this.#endpoints.saw(response.header);
    if (response.succeeded) return { applied: true, revision };
    return { applied: false, revision, found: this.#codec.found(response) };
  }

  lease(options?: LeaseOptions): Promise<Lease> {
    return grantEtcdLease(this.#endpoints, options, this.#logger);
  }

  watch(prefix: string, hint: (hint: WatchHint) => void): Watch {
    assertPrefix(prefix);
    return followPrefix(this.#endpoints, this.#codec, prefix, hint, this.#logger);
  }

  async close(): Promise<void> {
    this.#endpoints.close();
  }

  async #pages(prefix: string, options: ListOptions, until: number): Promise<Listing> {
    const limit = options.limit ?? Number.POSITIVE_INFINITY;
    const entries: Entry[] = [];
    const { key: first, range_end } = this.#codec.range(prefix);
    let key = options.after === undefined ? first : pastKey(this.#codec.key(options.after));
    const changed = options.changedSince === undefined ? {} : { min_mod_revision: options.changedSince + 1 };
    let revision = 0;
    let total: { total?: number } = {};
    let page = FIRST_PAGE;
    for (;;) {
      const leftMs = until - monotonicMs();
      if (leftMs <= 0) throw new StoreUnavailableError(`only ${entries.length} entries came before the deadline`);
      // Linearizable also at a fixed revision: a member that lags would not know that revision yet.
      const request = {
        key,
        range_end,
        limit: Math.min(page, limit - entries.length),
        revision,
        keys_only: options.keysOnly ?? false,
        ...changed,
      };
      const response = await this.#range(request, leftMs, `listing ${prefix}`);
      if (revision === 0) {
        revision = Number(response.header.revision);
        // Of the whole range, whatever the page shows of it.
        if (options.changedSince !== undefined) total = { total: Number(response.count) };
      }
      let bytes = 0;
      for (const kv of response.kvs) {
        entries.push(this.#codec.entry(kv));
        bytes += kv.key.length + kv.value.length;
      }
      const last = response.kvs.at(-1);
      if (!response.more || !last || entries.length >= limit) return { entries, revision, ...total };
      key = pastKey(last.key);
      const perEntry = bytes / response.kvs.length;
      page = Math.max(1, Math.min(LARGEST_PAGE, page * 4, Math.floor(PAGE_BYTES / perEntry)));
    }
  }

  async #range(request: object, deadlineMs: number, what: string): Promise<IRangeResponse> {
    const response = await this.#endpoints.repeating("KV", deadlineMs, what, (endpoint, attemptMs) =>
      endpoint.unary<IRangeResponse>("KV", "range", request, attemptMs),
    );
    this.#endpoints.saw(response.header);
    return response;
  }
}

/** The first key that can follow this one. */
function pastKey(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])]);
}

function leasesOf(transaction: Transaction): string[] {
  const leases = new Set<string>();
  for (const one of transaction.apply) if ("put" in one && one.lease !== undefined) leases.add(one.lease);
  return [...leases];
}
