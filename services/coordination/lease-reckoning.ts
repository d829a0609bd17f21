import { monotonicMs } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Lease, LeaseOptions } from "./contract.js";

/** Time to live of a lease in the store, milliseconds. */
export const DEFAULT_TTL_MS = 3_000;
/** Keep-alive period, milliseconds. */
export const DEFAULT_KEEP_ALIVE_MS = 750;
/** etcd grants no less, whatever is asked (1.5 election timeouts of 1 s, rounded up). */
export const MIN_TTL_MS = 2_000;

export interface LeaseTimes {
  readonly ttlMs: number;
  readonly keepAliveMs: number;
  readonly stopAfterMs: number;
}

/** Fills in the defaults. Throws `LongshoreError` (`invalid-argument`) for times that can't be kept. */
export function leaseTimes(options: LeaseOptions = {}): LeaseTimes {
  const ttlMs = options.ttlMs ?? DEFAULT_TTL_MS;
  const keepAliveMs = options.keepAliveMs ?? DEFAULT_KEEP_ALIVE_MS;
  const stopAfterMs = options.stopAfterMs ?? Math.floor((ttlMs * 2) / 3);
  if (!Number.isInteger(ttlMs / 1000) || ttlMs < MIN_TTL_MS) {
    throw new LongshoreError("invalid-argument", `a lease lives for whole seconds, at least 2: not ${ttlMs} ms`);
  }
  if (!(keepAliveMs > 0 && keepAliveMs < stopAfterMs && stopAfterMs < ttlMs)) {
    throw new LongshoreError(
      "invalid-argument",
      `a lease needs keep-alive < own stop < time to live, not ${keepAliveMs}, ${stopAfterMs}, ${ttlMs} ms`,
    );
  }
  return { ttlMs, keepAliveMs, stopAfterMs };
}

/**
 * The part of a lease that is ours alone: when we stop believing in it. It is computed from the monotonic clock at each
 * question, so that a process which slept (SIGSTOP, a long pause of the event loop) wakes up without a usable lease
 * before any timer of its has run. The count starts when a keep-alive was sent, never when its answer came: the store's
 * own count starts in between, so ours ends first.
 *
 * What it can't know: the monotonic clock stands still while the whole machine is suspended. Against that, and against a
 * former leader of the store that still answers keep-alives, only the compare on the lease's keys protects.
 */
export abstract class LeaseReckoning implements Lease {
  readonly #stopAfterMs: number;
  readonly #logger: Logger | undefined;
  readonly #endedCallbacks: (() => void)[] = [];
  readonly #usableCallbacks: ((usable: boolean) => void)[] = [];
  #sentAt: number;
  #ended = false;
  #reported = true;
  #timer: NodeJS.Timeout | undefined;

  protected constructor(
    readonly id: string,
    readonly ttlMs: number,
    stopAfterMs: number,
    sentAt: number,
    logger?: Logger,
  ) {
    this.#stopAfterMs = stopAfterMs;
    this.#sentAt = sentAt;
    this.#logger = logger;
    this.#watchUsable();
  }

  usable(): boolean {
    return !this.#ended && monotonicMs() - this.#sentAt < this.#stopAfterMs;
  }

  ended(): boolean {
    return this.#ended;
  }

  onEnded(callback: () => void): void {
    if (this.#ended) queueMicrotask(() => this.#call(callback));
    else this.#endedCallbacks.push(callback);
  }

  onUsableChange(callback: (usable: boolean) => void): void {
    this.#usableCallbacks.push(callback);
  }

  abstract release(): Promise<void>;

  /** Monotonic time (ms) when the last keep-alive that the store answered was sent. */
  protected get sentAt(): number {
    return this.#sentAt;
  }

  /** A keep-alive sent at `sentAt` (monotonic, ms) was answered. Answers may come out of order. */
  protected renewed(sentAt: number): void {
    if (this.#ended || sentAt <= this.#sentAt) return;
    // First report what was true until now, so that a gap isn't swallowed by the answer that ends it.
    this.#report();
    this.#sentAt = sentAt;
    this.#watchUsable();
  }

  /** The store said that the lease is gone, or it was released. Idempotent. */
  protected end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#report();
    for (const callback of this.#endedCallbacks.splice(0)) this.#call(callback);
  }

  #watchUsable(): void {
    this.#report();
    clearTimeout(this.#timer);
    if (this.#ended) return;
    const leftMs = this.#sentAt + this.#stopAfterMs - monotonicMs();
    if (leftMs <= 0) return;
    // One millisecond more than the rest, because timers may fire a fraction early.
    this.#timer = setTimeout(() => this.#watchUsable(), leftMs + 1);
    this.#timer.unref();
  }

  #report(): void {
    const usable = this.usable();
    if (usable === this.#reported) return;
    this.#reported = usable;
    for (const callback of this.#usableCallbacks) this.#call(() => callback(usable));
  }

  /** A listener's mistake must not end the keep-alives of everybody else. */
  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#logger?.error("a lease listener threw", { lease: this.id, error: String(error) });
    }
  }
}
