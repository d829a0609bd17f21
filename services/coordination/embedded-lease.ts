import { randomBytes } from "node:crypto";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { LeaseReckoning, type LeaseTimes } from "./lease-reckoning.js";

/**
 * A lease of the embedded store. Holder and store are one process, so only that process' sleep can end it: after its
 * time to live without a keep-alive it is over, as it would be in a cluster.
 */
export class EmbeddedLease extends LeaseReckoning {
  readonly #endInStore: (lease: EmbeddedLease) => Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #released: Promise<void> | undefined;

  /** `endInStore` deletes its keys. It must not throw. */
  constructor(times: LeaseTimes, logger: Logger | undefined, endInStore: (lease: EmbeddedLease) => Promise<void>) {
    super(newLeaseId(), times.ttlMs, times.stopAfterMs, monotonicMs(), logger);
    this.#endInStore = endInStore;
    this.#timer = setInterval(() => this.#keepAlive(), times.keepAliveMs);
    this.#timer.unref();
  }

  /** Monotonic time (ms) from which the store counts it as gone. */
  expiresAt(): number {
    return this.sentAt + this.ttlMs;
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  /** Its store is closed: it is over here, and its keys go when the store is opened again. */
  abandon(): void {
    clearInterval(this.#timer);
    this.end();
  }

  #release(): Promise<void> {
    this.abandon();
    return this.#endInStore(this);
  }

  #keepAlive(): void {
    if (this.expiresAt() <= monotonicMs()) void this.release();
    else this.renewed(monotonicMs());
  }
}

/** Positive, 63 bits, as etcd's are; random, so that no two processes ever share one. */
function newLeaseId(): string {
  return (randomBytes(8).readBigUInt64BE() >> 1n).toString();
}
