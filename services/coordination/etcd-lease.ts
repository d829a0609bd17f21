import type { ILeaseGrantResponse, ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from "etcd3/lib/rpc.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { Lease, LeaseOptions } from "./contract.js";
import { StoreUnavailableError } from "./errors.js";
import type { Endpoint, EndpointSet } from "./etcd-endpoints.js";
import { describe, isLeaseNotFound, isSilence, isWorthRepeating, readError } from "./etcd-errors.js";
import { LeaseReckoning, type LeaseTimes, leaseTimes } from "./lease-reckoning.js";

/** Deadline of a grant or a release, milliseconds. */
const CALL_MS = 2_000;
/** One keep-alive at one member gives up after so long. */
const ATTEMPT_MS = 1_000;
/** A keep-alive without an answer is sent to the next member too after so long: it may be repeated freely. */
const HEDGE_MS = 250;
/** Pause after a keep-alive that failed at every member. */
const RETRY_MS = 100;

/**
 * Grants a lease and keeps it alive over any member that answers. etcd3's own Lease isn't used: it believes in a lease
 * for twice its time to live.
 */
export async function grantEtcdLease(
  endpoints: EndpointSet,
  options: LeaseOptions | undefined,
  logger: Logger | undefined,
): Promise<Lease> {
  const times = leaseTimes(options);
  try {
    // A grant whose answer was lost leaves a lease without keys, which runs out by itself: so it may be repeated.
    const granted = await endpoints.repeating("Lease", CALL_MS, "no lease was granted", async (endpoint, ms) => {
      const sentAt = monotonicMs();
      const request = { TTL: times.ttlMs / 1000 };
      return { sentAt, response: await endpoint.unary<ILeaseGrantResponse>("Lease", "leaseGrant", request, ms) };
    });
    const lease = new EtcdLease(endpoints, granted.response, granted.sentAt, times, logger);
    lease.start();
    return lease;
  } catch (error) {
    throw readError(error, "no lease was granted");
  }
}

class EtcdLease extends LeaseReckoning {
  readonly #endpoints: EndpointSet;
  readonly #keepAliveMs: number;
  readonly #leaseLogger: Logger | undefined;
  readonly #stop = new AbortController();
  #released: Promise<void> | undefined;

  constructor(
    endpoints: EndpointSet,
    granted: ILeaseGrantResponse,
    sentAt: number,
    times: LeaseTimes,
    logger: Logger | undefined,
  ) {
    super(granted.ID, Number(granted.TTL) * 1000, times.stopAfterMs, sentAt, logger);
    this.#endpoints = endpoints;
    this.#keepAliveMs = times.keepAliveMs;
    this.#leaseLogger = logger;
    endpoints.closing.addEventListener("abort", () => this.#stop.abort(), { once: true, signal: this.#stop.signal });
  }

  start(): void {
    void this.#keepAlive();
  }

  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  async #release(): Promise<void> {
    const wasEnded = this.ended();
    this.end();
    if (wasEnded || this.#endpoints.closed) return;
    try {
      await this.#endpoints.repeating("Lease", CALL_MS, "the lease was not released", (endpoint, ms) =>
        endpoint.unary("Lease", "leaseRevoke", { ID: this.id }, ms),
      );
    } catch (error) {
      // It ends by itself within its time to live, since nobody keeps it alive any more.
      if (!isLeaseNotFound(error)) {
        this.#leaseLogger?.warn("a lease was not released in the store and will run out instead", {
          lease: this.id,
          error: describe(error),
        });
      }
    }
  }

  protected override end(): void {
    this.#stop.abort();
    super.end();
  }

  async #keepAlive(): Promise<void> {
    const stop = this.#stop.signal;
    let nextAt = this.sentAt + this.#keepAliveMs;
    for (;;) {
      await pause(Math.max(0, nextAt - monotonicMs()), stop);
      if (stop.aborted) return;
      const startedAt = monotonicMs();
      const answered = await this.#round();
      nextAt = answered ? startedAt + this.#keepAliveMs : monotonicMs() + RETRY_MS;
    }
  }

  /** Asks one member, and the next one too where the first is slow or fails. True once any of them has answered. */
  #round(): Promise<boolean> {
    return new Promise((resolve) => {
      const candidates = this.#endpoints.ordered();
      const waiting = new Set<Endpoint>();
      let hedge: NodeJS.Timeout | undefined;
      let settled = false;
      const settle = (answered: boolean) => {
        if (settled) return;
        settled = true;
        clearTimeout(hedge);
        // Whoever was asked earlier and is still silent is slower than a whole hedge: others should avoid it too.
        if (answered) for (const endpoint of waiting) endpoint.failed("Lease", false);
        resolve(answered);
      };
      const askNext = () => {
        clearTimeout(hedge);
        const endpoint = candidates.shift();
        if (!endpoint || settled || this.#stop.signal.aborted) {
          if (waiting.size === 0) settle(false);
          return;
        }
        waiting.add(endpoint);
        hedge = setTimeout(askNext, HEDGE_MS);
        hedge.unref();
        this.#attempt(endpoint).then(
          () => {
            waiting.delete(endpoint);
            settle(true);
          },
          (error: unknown) => {
            waiting.delete(endpoint);
            if (isWorthRepeating(error)) endpoint.failed("Lease", isSilence(error));
            askNext();
          },
        );
      };
      askNext();
    });
  }

  /** One keep-alive at one member. An answer counts whenever it comes: it is reckoned from when it was asked for. */
  async #attempt(endpoint: Endpoint): Promise<void> {
    const until = monotonicMs() + ATTEMPT_MS;
    if (!(await endpoint.ready("Lease", ATTEMPT_MS))) {
      throw new StoreUnavailableError(`no connection to ${endpoint.address}`);
    }
    const sentAt = monotonicMs();
    const leftMs = Math.max(1, until - sentAt);
    const stream = endpoint.duplex<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>("Lease", "leaseKeepAlive", leftMs);
    const answer = await new Promise<ILeaseKeepAliveResponse>((resolve, reject) => {
      stream.on("data", resolve);
      stream.on("error", reject);
      stream.on("end", () => reject(new StoreUnavailableError(`${endpoint.address} ended the keep-alive unanswered`)));
      stream.write({ ID: this.id });
    });
    stream.end();
    endpoint.succeeded("Lease");
    this.#endpoints.saw(answer.header);
    if (Number(answer.TTL) > 0) this.renewed(sentAt);
    else this.end();
  }
}
