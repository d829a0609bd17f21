import { monotonicMs, pause } from "#lib/clock.js";
import { asLongshoreError, type ErrorCode } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";

export interface StorageHealth {
  readonly healthy: boolean;
  readonly problem?: string;
  /** Of the failure; `no-space` leaves reads, deletions and resumes of what is there. */
  readonly code?: ErrorCode;
  /** Of a full storage: as last known. */
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
  readonly probe: () => Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
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
    // Of a full storage the sizes are still told: else what warns of little room would be silent when there is none.
    const { freeBytes, totalBytes } = health ?? {};
    const sizes = freeBytes === undefined || totalBytes === undefined ? {} : { freeBytes, totalBytes };
    set({ healthy: false, problem: `storage: ${message}`, code, ...(code === "no-space" ? sizes : {}) });
  };

  const run = async () => {
    while (!stopping.signal.aborted) {
      const startedAt = monotonicMs();
      const over = new AbortController();
      const probing = options.probe().then(
        ({ freeBytes, totalBytes }) => set({ healthy: true, freeBytes, totalBytes }),
        (error: unknown) => report(error),
      );
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
