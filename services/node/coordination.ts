import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination, type EtcdTls } from "#coordination/etcd.js";
import { monotonicMs } from "#lib/clock.js";
import { followFiles } from "#lib/followed-files.js";
import type { Logger } from "#lib/logger.js";
import type { Metrics, StoreCall, StoreOutcome } from "#observe/metrics.js";
import { EXIT_FAILED, StartupError } from "./errors.js";
import { secretIn } from "./local-files.js";
import type { NodeSettings } from "./settings.js";

export interface OpenStore {
  readonly store: Coordination;
  /** What connections to etcd are made with now; undefined where they are plain, and for the embedded store. */
  etcdTls(): EtcdTls | undefined;
  /** No file is looked at any more; the store stays open. Idempotent. */
  stop(): void;
}

const FOLLOWS_NOTHING = { etcdTls: () => undefined, stop: () => {} };

/** The store that the settings name; etcd needn't be up yet. Throws StartupError. */
export function openCoordination(settings: NodeSettings, logger: Logger): OpenStore {
  const { coordination, site } = settings;
  if (coordination.kind === "embedded") {
    try {
      const store = createEmbeddedCoordination({ directory: coordination.directory, logger });
      return { store, ...FOLLOWS_NOTHING };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new StartupError(`coordination.directory: ${why}`, EXIT_FAILED, error);
    }
  }
  const { endpoints, tls } = coordination;
  if (tls !== undefined) return openSecured(endpoints, site, tls, logger);
  return { store: createEtcdCoordination({ endpoints, site, logger }), ...FOLLOWS_NOTHING };
}

/** etcd with mutual TLS; certificates that are replaced in their files are used from the next connection on. */
function openSecured(endpoints: readonly string[], site: string, files: TlsFiles, logger: Logger): OpenStore {
  let tls = readTls(files);
  const store = createEtcdCoordination({ endpoints, site, logger, tls });
  const stop = followFiles({
    first: tls,
    read: () => readTls(files),
    same: (one, other) => one.ca === other.ca && one.cert === other.cert && one.key === other.key,
    renewed(next) {
      // Throws where no connection could be made with it: grpc would only say that it can't connect.
      createSecureContext(next);
      store.renewTls(next);
      tls = next;
      const { validTo, subject } = new X509Certificate(next.cert);
      logger.info("etcd's next connections are made with new certificates", { subject, validTo });
    },
    refused(error) {
      logger.warn("the new certificates for etcd can't be used; the old ones stay", { error });
    },
  });
  return { store, etcdTls: () => tls, stop };
}

type TlsFiles = { readonly caFile: string; readonly certificateFile: string; readonly keyFile: string };

/** Throws StartupError. */
function readTls({ caFile, certificateFile, keyFile }: TlsFiles): EtcdTls {
  return {
    ca: secretIn("coordination.tls.caFile", caFile),
    cert: secretIn("coordination.tls.certificateFile", certificateFile),
    key: secretIn("coordination.tls.keyFile", keyFile),
  };
}

/** The same store, with each call's latency and outcome counted. */
export function measured(coordination: Coordination, metrics: Metrics): Coordination {
  const measure = async <T>(call: StoreCall, run: () => Promise<T>): Promise<T> => {
    const startedAt = monotonicMs();
    let outcome: StoreOutcome = "ok";
    try {
      return await run();
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      metrics.storeCall(call, outcome, (monotonicMs() - startedAt) / 1_000);
    }
  };
  return {
    get: (key, options) => measure("get", () => coordination.get(key, options)),
    list: (prefix, options) => measure("list", () => coordination.list(prefix, options)),
    transact: (transaction, options) => measure("transact", () => coordination.transact(transaction, options)),
    lease: (options) => measure("lease", () => coordination.lease(options)),
    watch: (prefix, hint) => coordination.watch(prefix, hint),
    get maxOperations() {
      return coordination.maxOperations;
    },
    close: () => coordination.close(),
  };
}

function outcomeOf(error: unknown): StoreOutcome {
  if (error instanceof StoreUnavailableError) return "unavailable";
  return error instanceof OutcomeUnknownError ? "unknown" : "error";
}
