import { monotonicMs, pause } from "#lib/clock.js";
import { asLongshoreError, type ErrorCode } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Room } from "#storage/contract.js";

export interface StorageHealth {
  readonly healthy: boolean;
  readonly problem?: string;
  /** Of the failure; `no-space` leaves reads, deletions and resumes of what is there. */
  readonly code?: ErrorCode;
  readonly freeBytes?: number;
  /** Of the whole volume. */
  readonly totalBytes?: number;
}

export interface StorageWatch {
  start(): void;
  /** Undefined until the storage was looked at once. */
  health(): StorageHealth | undefined;
  /** What is known otherwise: the store couldn't be opened. */
  report(error: unknown): void;
  /** Idempotent. */
  stop(): void;
}

export interface StorageWatchOptions {
  readonly probe: () => Promise<Room>;
  /** Called whenever `healthy` or the problem changes. */
  readonly onChange: () => void;
  readonly logger: Logger;
  /** Between probes, in milliseconds. Default 2,000. */
  readonly everyMs?: number;
  /** A probe that takes longer is a hung mount, in milliseconds. Default 5,000. */
  readonly patienceMs?: number;
}

const EVERY_MS = 2_000;
const PATIENCE_MS = 5_000;

/** Asks the storage again and again whether it is there, ours, and writable. */
export function createStorageWatch(options: StorageWatchOptions): StorageWatch {
  const { logger, onChange } = options;
  const stopping = new AbortController();
  let health: StorageHealth | undefined;

  const set = (next: StorageHealth) => {
    const before = health;
    health = next;
    if (before?.healthy === next.healthy && before.problem === next.problem) return;
    if (!next.healthy) logger.error("the storage can't be used", { problem: next.problem, code: next.code });
    else if (before !== undefined) logger.info("the storage can be used again");
    onChange();
  };
  const report = (error: unknown) => {
    const { message, code } = asLongshoreError(error, "the storage fails");
    // A disk that refuses the probe itself is as full as can be; what warns of little room must not fall silent then.
    const totalBytes = code === "no-space" ? health?.totalBytes : undefined;
    const sizes = totalBytes === undefined ? {} : { freeBytes: 0, totalBytes };
    set({ healthy: false, problem: `storage: ${message}`, code, ...sizes });
  };
  const found = ({ freeBytes, totalBytes, full }: Room) => {
    if (!full) return set({ healthy: true, freeBytes, totalBytes });
    const problem = `storage: it is full: ${Math.floor(freeBytes / 2 ** 20)} MiB are left`;
    set({ healthy: false, problem, code: "no-space", freeBytes, totalBytes });
  };

  const run = async () => {
    while (!stopping.signal.aborted) {
      const startedAt = monotonicMs();
      const over = new AbortController();
      const probing = options.probe().then(found, (error: unknown) => report(error));
      // A hung probe is waited for all the same: a second one would only hold a second thread.
      void pause(options.patienceMs ?? PATIENCE_MS, over.signal).then(() => {
        if (over.signal.aborted || stopping.signal.aborted) return;
        set({ healthy: false, problem: "storage: it doesn't answer: is the mount hung?", code: "unavailable" });
      });
      await probing;
      over.abort();
      const spentMs = monotonicMs() - startedAt;
      await pause(Math.max(0, (options.everyMs ?? EVERY_MS) - spentMs), stopping.signal);
    }
  };

  return {
    start: () => void run(),
    health: () => health,
    report,
    stop: () => stopping.abort(),
  };
}
