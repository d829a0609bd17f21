import type { NodeLoad } from "#cluster/contract.js";
import { monotonicMs } from "#lib/clock.js";

export interface LoadSources {
  /** Of files moved since the start. */
  readonly totalBytes: () => number;
  readonly sessions: () => number;
  readonly transfers: () => number;
}

/** Readings closer together than this tell the same rate, in milliseconds. */
const SHORTEST_MS = 500;

/** The load in the heartbeat: counts as they are, and bytes a second between readings. */
export function createLoadMeter(sources: LoadSources): { now(): NodeLoad } {
  let readAt = monotonicMs();
  let bytes = sources.totalBytes();
  let bytesPerSecond = 0;
  return {
    now() {
      const at = monotonicMs();
      if (at - readAt >= SHORTEST_MS) {
        const total = sources.totalBytes();
        bytesPerSecond = Math.round(((total - bytes) * 1_000) / (at - readAt));
        readAt = at;
        bytes = total;
      }
      return { sessions: sources.sessions(), transfers: sources.transfers(), bytesPerSecond };
    },
  };
}
