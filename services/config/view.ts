import type { Coordination, Entry, Listing } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { KeyRing } from "#lib/seal.js";
import type { ConfigKeeper, ConfigView, Snapshot } from "./contract.js";
import { describe } from "./errors.js";
import { type Follower, follow } from "./follow.js";
import { CONFIG_HEAD, type DecodeCache, decodeConfig, type EntryFault } from "./snapshot.js";

export interface ConfigViewOptions {
  readonly coordination: Coordination;
  readonly clusterKey: KeyRing;
  readonly logger: Logger;
  readonly keeper?: ConfigKeeper;
  /** From a change to the listing that shows it, in milliseconds. Default 20. */
  readonly debounceMs?: number;
  /** Between looks at the configuration's head, in milliseconds. Default 2,000. */
  readonly probeMs?: number;
}

const PROBE_MS = 2_000;

export interface ConfigStatus {
  /** 0 before the first snapshot. */
  readonly revision: number;
  readonly hash: string;
  /** How long the snapshot has been known to be possibly behind the store, in milliseconds; 0: it isn't. */
  readonly lagMs: number;
  /** What in the store can't be used; the last good snapshot stays in force. */
  readonly faults: readonly EntryFault[];
  /** Why the store can't be read; undefined while it can. */
  readonly trouble?: string;
}

export interface RunningConfigView extends ConfigView {
  /** Begins to follow; resolves with the first valid snapshot, however long that takes. Rejects when `signal` aborts. */
  start(signal?: AbortSignal): Promise<Snapshot>;
  /** Idempotent. The last snapshot stays readable. */
  stop(): void;
  /** True from the first valid listing of the store on; a preloaded snapshot doesn't count. */
  loaded(): boolean;
  /**
   * Puts entries that this node kept on its own disk in force, until the store answers. Does nothing where it already
   * did. False where they aren't valid.
   */
  preload(entries: readonly Entry[]): boolean;
  status(): ConfigStatus;
  /** For how long a change of the whole site has been on its way, in milliseconds; 0: none is. */
  applyingMs(): number;
  /** Lists again: somebody knows of a newer revision. */
  refresh(): void;
  /** Resolves when a snapshot of at least this revision is in force, or rejects when `signal` aborts. */
  reached(revision: number, signal: AbortSignal): Promise<Snapshot>;
}

export function createConfigView(options: ConfigViewOptions): RunningConfigView {
  const { coordination, clusterKey, logger } = options;
  const cache: DecodeCache = new Map();
  const callbacks = new Set<(snapshot: Snapshot) => void>();
  let current: Snapshot | undefined;
  let faults: readonly EntryFault[] = [];
  let faultsSince: number | undefined;
  let trouble: string | undefined;
  let follower: Follower | undefined;
  let unreadableSince: number | undefined;
  let loaded = false;
  let applyingSince: number | undefined;
  const stopping = new AbortController();

  /**
   * A watch says nothing while the store is away, and a stuck one never does. One small read now and then makes that the
   * node knows when it lags, at the price of no listing.
   */
  const probe = async () => {
    while (!stopping.signal.aborted) {
      await pause(options.probeMs ?? PROBE_MS, stopping.signal);
      if (stopping.signal.aborted) return;
      const askedAt = monotonicMs();
      try {
        const head = await coordination.get(CONFIG_HEAD);
        unreadableSince = undefined;
        if (head !== undefined && head.modRevision > (current?.revision ?? 0)) follower?.refresh();
        else if (head !== undefined && loaded && faults.length === 0) options.keeper?.confirmed(askedAt);
      } catch (error) {
        unreadableSince ??= askedAt;
        onTrouble(error);
      }
    }
  };

  const onListing = (listing: Listing) => {
    if (trouble !== undefined) logger.info("the configuration can be read again");
    trouble = undefined;
    if (listing.entries.some((entry) => entry.key === keys.configApplying)) {
      // Half a configuration could let in somebody whom the other half shuts out: the last whole one stays.
      if (applyingSince === undefined) logger.info("a change of the whole site is on its way");
      applyingSince ??= monotonicMs();
      return;
    }
    applyingSince = undefined;
    const decoded = decodeConfig(listing.entries, clusterKey, cache);
    if (!decoded.valid) {
      report(decoded.faults);
      return;
    }
    if (faults.length > 0) logger.info("the configuration is valid again", { revision: decoded.snapshot.revision });
    faults = [];
    faultsSince = undefined;
    const before = current;
    const first = !loaded;
    loaded = true;
    const same = before?.hash === decoded.snapshot.hash && before.revision === decoded.snapshot.revision;
    if (same && !first) return;
    options.keeper?.inForce(listing);
    current = decoded.snapshot;
    logger.info("configuration in force", {
      revision: current.revision,
      hash: current.hash,
      accounts: current.accounts.size,
    });
    for (const callback of [...callbacks]) tell(callback, current);
  };

  const report = (found: readonly EntryFault[]) => {
    const words = (list: readonly EntryFault[]) => list.map((fault) => `${fault.key}: ${describe(fault)}`).join("; ");
    const said = words(found);
    if (said !== words(faults)) {
      logger.error(
        current === undefined
          ? "the store's configuration can't be used; mend the entries named"
          : "a configuration entry can't be used: the last good configuration stays in force; mend the entries named",
        { faults: said, revision: current?.revision ?? 0 },
      );
    }
    faults = found;
    faultsSince ??= monotonicMs();
  };

  const tell = (callback: (snapshot: Snapshot) => void, snapshot: Snapshot) => {
    try {
      callback(snapshot);
    } catch (error) {
      // One part that can't apply a change must not keep it from the others.
      logger.error("a part of the node failed to apply the configuration", { error });
    }
  };

  const onTrouble = (error: unknown) => {
    const message = asLongshoreError(error, "listing the configuration failed").message;
    if (trouble === undefined) logger.warn("the configuration can't be read; the last one stays in force", { error });
    trouble = message;
  };

  const view: RunningConfigView = {
    snapshot() {
      if (current === undefined) throw new LongshoreError("unavailable", "the configuration isn't loaded yet");
      return current;
    },
    onChange(callback) {
      callbacks.add(callback);
      return () => void callbacks.delete(callback);
    },
    start(signal) {
      if (follower === undefined) void probe();
      follower ??= follow({
        coordination,
        prefix: keys.configPrefix,
        onListing,
        onTrouble,
        ...(options.debounceMs === undefined ? {} : { debounceMs: options.debounceMs }),
      });
      return untilSnapshot(() => loaded, signal ?? new AbortController().signal);
    },
    stop() {
      stopping.abort();
      follower?.close();
    },
    loaded: () => loaded,
    preload(entries) {
      if (current !== undefined) return true;
      // Without the cache: the store that answers later may be another one, whose revisions mean other entries.
      const decoded = decodeConfig(entries, clusterKey);
      if (!decoded.valid) {
        logger.warn("the kept configuration isn't valid", {
          faults: decoded.faults.map((fault) => `${fault.key}: ${describe(fault)}`).join("; "),
        });
        return false;
      }
      current = decoded.snapshot;
      return true;
    },
    status: () => ({
      revision: current?.revision ?? 0,
      hash: current?.hash ?? "",
      lagMs: Math.max(follower?.behindMs() ?? 0, since(faultsSince), since(unreadableSince), since(applyingSince)),
      faults,
      ...(trouble === undefined ? {} : { trouble }),
    }),
    applyingMs: () => since(applyingSince),
    refresh: () => follower?.refresh(),
    reached(revision, signal) {
      return untilSnapshot((snapshot) => snapshot.revision >= revision, signal);
    },
  };

  const untilSnapshot = (suits: (snapshot: Snapshot) => boolean, signal: AbortSignal): Promise<Snapshot> => {
    if (current !== undefined && suits(current)) return Promise.resolve(current);
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        off();
        signal.removeEventListener("abort", onAbort);
        finish();
      };
      const onAbort = () =>
        settle(() => reject(new LongshoreError("closed", "stopped while waiting for the configuration")));
      const off = view.onChange((snapshot) => {
        if (suits(snapshot)) settle(() => resolve(snapshot));
      });
      signal.addEventListener("abort", onAbort);
      if (signal.aborted) onAbort();
    });
  };
  return view;
}

function since(moment: number | undefined): number {
  return moment === undefined ? 0 : monotonicMs() - moment;
}
