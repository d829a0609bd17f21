import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { IWatchRequest, IWatchResponse } from "etcd3/lib/rpc.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { Watch, WatchHint } from "./contract.js";
import type { EtcdCodec } from "./etcd-codec.js";
import type { Endpoint, EndpointSet } from "./etcd-endpoints.js";
import { describe } from "./etcd-errors.js";

/** How long one search for a reachable member lasts before it is said in the log. */
const CONNECT_MS = 2_000;
/** The stream is asked for a sign of life this often. */
const PROBE_EVERY_MS = 2_000;
/** A stream that leaves a question open for so long is given up: half-open, stuck, or its member lags behind. */
const PROBE_PATIENCE_MS = 3_000;
/** How often the two above are looked at. */
const CHECK_MS = 500;
const FIRST_BACKOFF_MS = 50;
const LAST_BACKOFF_MS = 1_000;

/**
 * Follows a prefix for ever, over any member. It starts each stream at "now" and never resumes an old one by revision
 * (a resumed watch can skip history, and compaction may have eaten it): the `resync` that follows each (re)connection
 * makes the follower list again, after the stream is in place, so no change can fall in between.
 */
export function followPrefix(
  endpoints: EndpointSet,
  codec: EtcdCodec,
  prefix: string,
  hint: (hint: WatchHint) => void,
  logger: Logger | undefined,
): Watch {
  const watch = new EtcdWatch(endpoints, codec, prefix, hint, logger);
  void watch.follow();
  return watch;
}

class EtcdWatch implements Watch {
  readonly #endpoints: EndpointSet;
  readonly #codec: EtcdCodec;
  readonly #prefix: string;
  readonly #hint: (hint: WatchHint) => void;
  readonly #logger: Logger | undefined;
  readonly #closing = new AbortController();

  constructor(
    endpoints: EndpointSet,
    codec: EtcdCodec,
    prefix: string,
    hint: (hint: WatchHint) => void,
    logger: Logger | undefined,
  ) {
    this.#endpoints = endpoints;
    this.#codec = codec;
    this.#prefix = prefix;
    this.#hint = hint;
    this.#logger = logger;
    endpoints.closing.addEventListener("abort", () => this.close(), { once: true, signal: this.#closing.signal });
  }

  close(): void {
    this.#closing.abort();
  }

  async follow(): Promise<void> {
    const signal = this.#closing.signal;
    let backoffMs = FIRST_BACKOFF_MS;
    while (!signal.aborted) {
      try {
        const endpoint = await this.#endpoints.connected("Watch", CONNECT_MS);
        const { established, reason } = await this.#stream(endpoint);
        if (signal.aborted) return;
        this.#logger?.warn("watch interrupted", { prefix: this.#prefix, member: endpoint.address, reason });
        if (established) backoffMs = FIRST_BACKOFF_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.#logger?.warn("watch can't connect", { prefix: this.#prefix, reason: describe(error) });
      }
      await pause(backoffMs, signal);
      backoffMs = Math.min(backoffMs * 2, LAST_BACKOFF_MS);
    }
  }

  /** One stream, from its creation to its end, which comes in any case. */
  #stream(endpoint: Endpoint): Promise<{ established: boolean; reason: string }> {
    return new Promise((resolve) => {
      const stream: ClientDuplexStream<IWatchRequest, IWatchResponse> = endpoint.duplex("Watch", "watch");
      const signal = this.#closing.signal;
      let established = false;
      // What the member has yet to show: any answer at all, with at least this revision.
      let question: { readonly revision: number; readonly askedAt: number } | undefined;
      let askedAt = monotonicMs();
      question = { revision: 0, askedAt };

      const finish = (reason: string) => {
        clearInterval(check);
        signal.removeEventListener("abort", onClose);
        // Its listeners stay: a cancelled call still emits an error, which would be fatal unheard.
        stream.cancel();
        resolve({ established, reason });
      };
      const onClose = () => finish("closed");

      const check = setInterval(() => {
        const now = monotonicMs();
        if (question && now - question.askedAt > PROBE_PATIENCE_MS) {
          endpoint.failed("Watch", true);
          // The connection is replaced, not just the stream: a half-open one would swallow the next stream, too.
          endpoint.reset("Watch");
          // If the bar was set by a cluster that is no more (restored from a backup), it must not fail us for ever.
          this.#endpoints.forgetNewestRevision();
          finish("no timely sign of life, or the member lags behind");
          return;
        }
        if (question || now - askedAt < PROBE_EVERY_MS) return;
        askedAt = now;
        question = { revision: this.#endpoints.newestRevision, askedAt: now };
        stream.write({ progress_request: {} });
      }, CHECK_MS);
      check.unref();

      stream.on("data", (answer: IWatchResponse) => {
        if (signal.aborted) return;
        const revision = this.#endpoints.saw(answer.header);
        endpoint.succeeded("Watch");
        if (question && revision >= question.revision) question = undefined;
        if (answer.canceled) {
          finish(`cancelled by etcd: ${answer.cancel_reason || `compacted at ${answer.compact_revision}`}`);
          return;
        }
        if (answer.created) {
          established = true;
          this.#tell({ kind: "resync" });
        }
        if (answer.events.length > 0) this.#tell(this.#changed(answer));
      });
      stream.on("error", (error) => {
        if (!signal.aborted) endpoint.failed("Watch", false);
        finish(describe(error));
      });
      stream.on("end", () => finish("ended by the member"));
      signal.addEventListener("abort", onClose, { once: true });
      stream.write({ create_request: this.#codec.range(this.#prefix) });
    });
  }

  #changed(answer: IWatchResponse): WatchHint {
    const names = new Set<string>();
    let revision = 0;
    for (const event of answer.events) {
      names.add(this.#codec.name(event.kv.key));
      revision = Math.max(revision, Number(event.kv.mod_revision));
    }
    return { kind: "changed", keys: [...names], revision };
  }

  #tell(hint: WatchHint): void {
    if (this.#closing.signal.aborted) return;
    try {
      this.#hint(hint);
    } catch (error) {
      this.#logger?.error("a watch listener threw", { prefix: this.#prefix, error: String(error) });
    }
  }
}
