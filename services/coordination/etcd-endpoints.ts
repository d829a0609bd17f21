import { setMaxListeners } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import {
  type ChannelCredentials,
  type ChannelOptions,
  type ClientDuplexStream,
  type ClientUnaryCall,
  connectivityState,
  credentials as grpcCredentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { Host } from "etcd3/lib/connection-pool.js";
import type { IResponseHeader } from "etcd3/lib/rpc.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { StoreUnavailableError } from "./errors.js";
import type { EtcdCredentials } from "./etcd-credentials.js";
import { describe, isSilence, isWorthRepeating, readError } from "./etcd-errors.js";

/** One connection per service and member: bulk reads can't hold up keep-alives, and a dead one is replaced alone. */
export type Service = "KV" | "Lease" | "Watch";

const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // etcd answers pings on a connection without calls with GOAWAY "too_many_pings" (it sets PermitWithoutStream: false in
  // embed/etcd.go; seen after 40 s), and a transaction sent at that moment would end as unknown. A dead connection is
  // found by our own deadlines first, in any case.
  "grpc.keepalive_permit_without_calls": 0,
  // Transactions must not be repeated behind our back, nor may DNS tell us to.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.use_local_subchannel_pool": 1,
  // A member that comes back is used again within a second (grpc's own backoff goes to two minutes).
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.dns_min_time_between_resolutions_ms": 2_000,
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
};

/** A connection that isn't up after so long is waited for in the background, while another member is asked. */
const CONNECT_PATIENCE_MS = 500;
/** A connection attempt without any answer is started afresh after so long: the kernel's next SYN may be a minute off. */
const CONNECT_STUCK_MS = 5_000;
/** A member that hasn't answered a call for so long gets no new ones while there are others. */
const SLOW_MS = 750;
/** The shortest attempt of a repeated call. */
const MIN_ATTEMPT_MS = 200;
/** Pause between attempts of a repeated call, doubling: a cluster without a leader refuses at once, and many ask. */
const FIRST_REST_MS = 10;
const LAST_REST_MS = 200;
/** After so many calls in a row without an answer the connection is taken for dead and replaced. */
const SILENCES_UNTIL_RESET = 2;

type UnaryMethod = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, response: unknown) => void,
) => ClientUnaryCall;
type DuplexMethod = (metadata: Metadata, options: { deadline?: number }) => ClientDuplexStream<object, object>;

/** Asks etcd to refuse at once what it can't do without a leader, instead of holding it until the deadline. */
function requireLeader(): Metadata {
  const metadata = new Metadata();
  metadata.set("hasleader", "true");
  return metadata;
}

/** One etcd member, as seen from here. */
export class Endpoint {
  readonly #hosts: Record<Service, Host>;
  readonly #connectingSince: Partial<Record<Service, number>> = {};
  readonly #silences: Record<Service, number> = { KV: 0, Lease: 0, Watch: 0 };
  readonly #calls = new Set<{ cancel(): void }>();
  #closed = false;
  /** Monotonic time of the last fault, 0 while trusted. */
  suspectedAt = 0;

  constructor(
    readonly address: string,
    channelCredentials: ChannelCredentials,
  ) {
    const host = () => new Host(address, channelCredentials, CHANNEL_OPTIONS);
    this.#hosts = { KV: host(), Lease: host(), Watch: host() };
  }

  /** Waits until the connection is up (HTTP/2 settings received); false after `waitMs`, or at once where it is refused. */
  async ready(service: Service, waitMs: number): Promise<boolean> {
    const until = monotonicMs() + waitMs;
    for (;;) {
      if (this.#closed) return false;
      const channel = this.#client(service).getChannel();
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) {
        delete this.#connectingSince[service];
        return true;
      }
      const now = monotonicMs();
      this.#connectingSince[service] ??= now;
      if (now - this.#connectingSince[service] > CONNECT_STUCK_MS) this.reset(service);
      const leftMs = until - now;
      if (leftMs <= 0 || state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) {
        return false;
      }
      await new Promise<void>((resolve) => channel.watchConnectivityState(state, Date.now() + leftMs, () => resolve()));
    }
  }

  /** One unary call, never repeated. Rejects with grpc's `ServiceError` by the deadline at the latest. */
  unary<T>(service: Service, method: string, request: object, deadlineMs: number): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const client = this.#client(service);
      const slow = deadlineMs > SLOW_MS ? setTimeout(() => this.#suspect(), SLOW_MS) : undefined;
      slow?.unref();
      // etcd3 makes its clients from the .proto at run time, so their methods have no static type.
      const call = (client as unknown as Record<string, UnaryMethod>)[method] as UnaryMethod;
      const handle = call.call(
        client,
        request,
        requireLeader(),
        { deadline: Date.now() + deadlineMs },
        (error, response) => {
          clearTimeout(slow);
          this.#calls.delete(handle);
          if (error) {
            if (isWorthRepeating(error)) this.failed(service, isSilence(error));
            reject(error);
          } else {
            this.succeeded(service);
            resolve(response as T);
          }
        },
      );
      this.#calls.add(handle);
    });
  }

  /** Opens a stream. Without `deadlineMs` it has none: the caller must watch over it. */
  duplex<Request extends object, Response extends object>(
    service: Service,
    method: string,
    deadlineMs?: number,
  ): ClientDuplexStream<Request, Response> {
    const client = this.#client(service);
    const call = (client as unknown as Record<string, DuplexMethod>)[method] as DuplexMethod;
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    const stream = call.call(client, requireLeader(), options);
    this.#calls.add(stream);
    stream.once("close", () => this.#calls.delete(stream));
    stream.once("status", () => this.#calls.delete(stream));
    return stream as unknown as ClientDuplexStream<Request, Response>;
  }

  succeeded(service: Service): void {
    this.suspectedAt = 0;
    this.#silences[service] = 0;
  }

  /** Something went wrong with this member; `silent`: no answer came in time. */
  failed(service: Service, silent: boolean): void {
    this.#suspect();
    if (!silent) {
      this.#silences[service] = 0;
      return;
    }
    this.#silences[service] += 1;
    if (this.#silences[service] >= SILENCES_UNTIL_RESET) this.reset(service);
  }

  /** Leaves the connection (calls on it may still end by themselves); the next call makes a new one. */
  reset(service: Service): void {
    this.#silences[service] = 0;
    delete this.#connectingSince[service];
    this.#hosts[service].resetAllServices();
  }

  /** Ends every call in flight with CANCELLED, then the connections. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const call of this.#calls) call.cancel();
    for (const host of Object.values(this.#hosts)) host.close();
  }

  #suspect(): void {
    this.suspectedAt = monotonicMs();
  }

  #client(service: Service) {
    if (this.#closed) throw new StoreUnavailableError("the coordination store's client is closed");
    return this.#hosts[service].getServiceClient(service);
  }
}

/**
 * The members of one cluster, the first one preferred at the start. A member that fails is asked last until it has
 * answered again; there is no way back to an earlier one without need, so that a flapping member can't swing us.
 */
export class EndpointSet {
  readonly #endpoints: readonly Endpoint[];
  readonly #logger: Logger | undefined;
  readonly #closing = new AbortController();
  #current: Endpoint;
  #cluster = "";
  #newestRevision = 0;

  constructor(addresses: readonly string[], tls: EtcdCredentials | undefined, logger: Logger | undefined) {
    const secure =
      tls?.channel ??
      (addresses.some((address) => address.startsWith("https:"))
        ? grpcCredentials.createSsl()
        : grpcCredentials.createInsecure());
    this.#endpoints = addresses.map((address) => new Endpoint(address, secure));
    const first = this.#endpoints[0];
    if (!first) throw new StoreUnavailableError("no etcd endpoint is configured");
    this.#current = first;
    this.#logger = logger;
    // Each lease, watch and waiting call hangs on it, which is no leak.
    setMaxListeners(0, this.#closing.signal);
  }

  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Highest revision seen in any answer: a member that shows a lower one lags. */
  get newestRevision(): number {
    return this.#newestRevision;
  }

  /** Takes note of an answer's header and returns its revision. */
  saw(header: IResponseHeader): number {
    const revision = Number(header.revision);
    if (header.cluster_id !== this.#cluster) {
      // A cluster restored from a backup starts with a new id, and with revisions that we have seen before.
      this.#cluster = header.cluster_id;
      this.#newestRevision = 0;
    }
    this.#newestRevision = Math.max(this.#newestRevision, revision);
    return revision;
  }

  forgetNewestRevision(): void {
    this.#newestRevision = 0;
  }

  /** Current one first, then the trusted ones, then the suspects, longest suspected first. */
  ordered(): Endpoint[] {
    const rank = (endpoint: Endpoint) => (endpoint.suspectedAt > 0 ? endpoint.suspectedAt : -1);
    const start = this.#endpoints.indexOf(this.#current);
    const turned = [...this.#endpoints.slice(start), ...this.#endpoints.slice(0, start)];
    return turned.sort((a, b) => rank(a) - rank(b));
  }

  /** A member whose connection is up. Throws `StoreUnavailableError` after `waitMs`: nothing was sent then. */
  async connected(service: Service, waitMs: number): Promise<Endpoint> {
    const until = monotonicMs() + waitMs;
    for (;;) {
      for (const endpoint of this.ordered()) {
        if (this.closed) throw new StoreUnavailableError("the coordination store's client is closed");
        const leftMs = until - monotonicMs();
        if (leftMs <= 0) break;
        if (await endpoint.ready(service, Math.min(leftMs, CONNECT_PATIENCE_MS))) {
          this.#use(endpoint);
          return endpoint;
        }
        endpoint.failed(service, false);
      }
      const leftMs = until - monotonicMs();
      if (leftMs <= 0) break;
      await this.#rest(Math.min(leftMs, 50));
    }
    throw new StoreUnavailableError(
      `no etcd member was reachable within ${Math.round(waitMs)} ms: ${await this.#whyNot(service)}`,
    );
  }

  /**
   * Runs a call that may be repeated: on other members too, until the deadline. `attempt` gets the milliseconds that it
   * may take. Throws `StoreUnavailableError`, or at once what another member would answer just the same.
   */
  async repeating<T>(
    service: Service,
    deadlineMs: number,
    what: string,
    attempt: (endpoint: Endpoint, attemptMs: number) => Promise<T>,
  ): Promise<T> {
    const until = monotonicMs() + deadlineMs;
    let last: unknown;
    let restMs = FIRST_REST_MS;
    for (;;) {
      const leftMs = until - monotonicMs();
      if (leftMs <= 0) throw readError(last, what);
      const endpoint = await this.connected(service, leftMs);
      const left = Math.max(1, until - monotonicMs());
      const attemptMs = this.#endpoints.length > 1 ? Math.min(left, Math.max(left / 2, MIN_ATTEMPT_MS)) : left;
      try {
        return await attempt(endpoint, attemptMs);
      } catch (error) {
        if (!isWorthRepeating(error)) throw error;
        if (this.closed) throw new StoreUnavailableError("the coordination store's client is closed", error);
        last = error;
      }
      await this.#rest(Math.min(restMs, Math.max(0, until - monotonicMs())));
      restMs = Math.min(restMs * 2, LAST_REST_MS);
    }
  }

  close(): void {
    this.#closing.abort();
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  /** Keeps the process alive, unlike `pause`: somebody awaits this call. */
  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.closing }).catch(() => undefined);
  }

  #use(endpoint: Endpoint): void {
    if (endpoint === this.#current) return;
    this.#logger?.warn("etcd member changed", { from: this.#current.address, to: endpoint.address });
    this.#current = endpoint;
  }

  /** grpc tells why a connection failed only to a call; this one reads a key that nobody has. */
  async #whyNot(service: Service): Promise<string> {
    const reasons = await Promise.all(
      this.#endpoints.map(async (endpoint) => {
        try {
          await endpoint.unary("KV", "range", { key: Buffer.from([0]), keys_only: true }, 50);
          return `${endpoint.address}: the ${service} connection is still being made`;
        } catch (error) {
          return `${endpoint.address}: ${describe(error)}`;
        }
      }),
    );
    return reasons.join("; ");
  }
}
