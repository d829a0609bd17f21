import type { RunningConfigView } from "#config/view.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { SnapshotKeeper } from "./snapshot-keeper.js";

export interface WithoutStoreOptions {
  readonly keeper: SnapshotKeeper;
  readonly config: RunningConfigView;
  /** Of the kept configuration, once that is preloaded. */
  readonly graceMs: () => number;
  /** Opens the data path; the caller opens it once, whoever asks first. */
  readonly serve: () => Promise<void>;
  /** Whether the store answers now: a large configuration may take long to list, and then there is nothing to wait out. */
  readonly storeAnswers: () => boolean;
  /** Settles when the store has answered and the node is registered, or never can be. */
  readonly joined: Promise<unknown>;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** The store may be silent for so long before the kept configuration is looked at, in milliseconds. Default 2,500. */
  readonly patienceMs?: number;
}

export interface WithoutStore {
  /** True once the kept configuration is what partners are served with, because the store didn't answer. */
  chosen(): boolean;
  /** How long ago the store was last heard of, in milliseconds, counted over restarts. */
  sinceContactMs(): number;
}

const PATIENCE_MS = 2_500;
const TICK_MS = 100;

/**
 * Serves partners with the configuration on this node's disk where the store doesn't answer at the start. Its age counts
 * from the last contact of whatever process had that, so a node gains no time by restarting; one that is past the grace
 * serves nobody and waits for the store, as a new node does.
 */
export function serveWithoutStore(options: WithoutStoreOptions): WithoutStore {
  const { keeper, config, logger, signal } = options;
  let contactAt: number | undefined;

  const run = async () => {
    if (await answersInTime()) return;
    const startedAt = monotonicMs();
    const loaded = await keeper.load();
    if (loaded === undefined) return;
    const { kept, ageMs } = loaded;
    if (ageMs === undefined) {
      logger.warn("the configuration on this node's disk is not used: nobody can tell how old it is");
      return;
    }
    if (config.loaded() || !config.preload(kept.entries)) return;
    const graceMs = options.graceMs();
    if (ageMs > graceMs) {
      logger.warn("the configuration on this node's disk is too old to serve with: waiting for the store", {
        revision: kept.revision,
        ageMs: Math.round(ageMs),
        graceMs,
      });
      return;
    }
    contactAt = startedAt - ageMs;
    logger.warn("the store doesn't answer: partners are served with the configuration on this node's disk", {
      revision: kept.revision,
      ageMs: Math.round(ageMs),
      graceMs,
    });
    await options.serve();
  };
  /** False once the store was silent for long enough. */
  const answersInTime = async (): Promise<boolean> => {
    let over = false;
    const end = () => {
      over = true;
    };
    options.joined.then(end, end);
    let silentSince = monotonicMs();
    for (;;) {
      await pause(TICK_MS, signal);
      if (over || signal.aborted || config.loaded()) return true;
      if (options.storeAnswers()) silentSince = monotonicMs();
      else if (monotonicMs() - silentSince >= (options.patienceMs ?? PATIENCE_MS)) return false;
    }
  };
  run().catch((error: unknown) => {
    if (!signal.aborted) logger.error("this node can't serve without the store", { error });
  });

  return {
    chosen: () => contactAt !== undefined,
    sinceContactMs: () => (contactAt === undefined ? 0 : monotonicMs() - contactAt),
  };
}
