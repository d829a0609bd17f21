import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { Metrics, StoreCall, StoreOutcome } from "#observe/metrics.js";
import { EXIT_FAILED, StartupError } from "./errors.js";
import { secretIn } from "./local-files.js";
import type { NodeSettings } from "./settings.js";

/** The store that the settings name; etcd needn't be up yet. Throws StartupError. */
export function openCoordination(settings: NodeSettings, logger: Logger): Coordination {
  const { coordination, site } = settings;
  if (coordination.kind === "embedded") {
    try {
      return createEmbeddedCoordination({ directory: coordination.directory, logger });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new StartupError(`coordination.directory: ${why}`, EXIT_FAILED, error);
    }
  }
  const { endpoints, tls } = coordination;
  if (tls === undefined) return createEtcdCoordination({ endpoints, site, logger });
  return createEtcdCoordination({
    endpoints,
    site,
    logger,
    tls: {
      ca: Buffer.from(secretIn("coordination.tls.caFile", tls.caFile)),
      cert: Buffer.from(secretIn("coordination.tls.certificateFile", tls.certificateFile)),
      key: Buffer.from(secretIn("coordination.tls.keyFile", tls.keyFile)),
    },
  });
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
