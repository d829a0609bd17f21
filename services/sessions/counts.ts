import { z } from "zod";
import { type Follower, follow } from "#config/follow.js";
import type { Coordination, Listing } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";

/**
 * How many sessions the accounts with a limit have on other nodes. Each node writes one key, on its lease: at once where a
 * count changes (at most each 250 ms), and again now and then while there is any, so that a node that has died is noticed
 * long before its lease ends: what it counted doesn't keep its partners from coming back elsewhere.
 *
 * Logins on several nodes within the same quarter of a second may take an account past its limit; nothing corrects that.
 */
export interface SessionCounts {
  start(): void;
  /** Idempotent. */
  stop(): Promise<void>;
  elsewhere(account: string): number;
  /** A count of this node changed. */
  touch(): void;
}

export interface SessionCountsOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  /** The node's lease; undefined while there is none. */
  readonly lease: () => string | undefined;
  /** Sessions of the accounts here that have a limit. */
  readonly counts: () => Readonly<Record<string, number>>;
  readonly logger: Logger;
}

const FLUSH_MS = 250;
/** Half of what makes a node silent, less than what a busy store may take. */
const REPEAT_MS = 400;
const SILENT_MS = 1_000;
const DEBOUNCE_MS = 10;

const recordSchema = z.object({ counts: z.record(z.string(), z.int().min(0)) });

interface Heard {
  readonly modRevision: number;
  /** monotonicMs. */
  readonly at: number;
  readonly counts: Readonly<Record<string, number>>;
}

export function createSessionCounts(options: SessionCountsOptions): SessionCounts {
  const { coordination, logger } = options;
  const ownKey = keys.sessionCounts(options.nodeId);
  const stopping = new AbortController();
  let heard = new Map<string, Heard>();
  let follower: Follower | undefined;
  let running: Promise<void> | undefined;
  let written = "{}";
  let writtenAt = Number.NEGATIVE_INFINITY;
  let dirty = false;
  let wake: (() => void) | undefined;

  const onListing = (listing: Listing) => {
    const next = new Map<string, Heard>();
    for (const { key, modRevision, value } of listing.entries) {
      if (key === ownKey) continue;
      const before = heard.get(key);
      next.set(
        key,
        before?.modRevision === modRevision ? before : { modRevision, at: monotonicMs(), counts: decode(value) },
      );
    }
    heard = next;
  };

  const flush = async () => {
    dirty = false;
    const value = JSON.stringify(options.counts());
    const lease = options.lease();
    if (value === "{}" && written === "{}") return;
    writtenAt = monotonicMs();
    if (lease === undefined) {
      dirty = true;
      return;
    }
    try {
      const apply =
        value === "{}"
          ? [{ delete: ownKey }]
          : [{ put: ownKey, value: JSON.stringify({ counts: JSON.parse(value) }), lease }];
      await coordination.transact({ compare: [], apply }, { deadlineMs: SILENT_MS });
      written = value;
    } catch (error) {
      written = "?";
      dirty = true;
      logger.debug("the counts of sessions weren't written", { error });
    }
  };

  const run = async () => {
    while (!stopping.signal.aborted) {
      const since = monotonicMs() - writtenAt;
      const wait = dirty ? FLUSH_MS - since : written === "{}" ? 60_000 : REPEAT_MS - since;
      if (wait > 0) {
        const nap = new AbortController();
        wake = () => nap.abort();
        await pause(wait, nap.signal, stopping.signal);
        wake = undefined;
        if (monotonicMs() - writtenAt < FLUSH_MS) continue;
      }
      if (stopping.signal.aborted) return;
      await flush();
    }
  };

  return {
    start() {
      follower ??= follow({ coordination, prefix: keys.sessionCountPrefix, debounceMs: DEBOUNCE_MS, onListing });
      running ??= run();
    },
    async stop() {
      stopping.abort();
      follower?.close();
      await running;
    },
    elsewhere(account) {
      const from = monotonicMs() - SILENT_MS;
      let sum = 0;
      for (const { at, counts } of heard.values()) if (at >= from) sum += counts[account] ?? 0;
      return sum;
    },
    touch() {
      dirty = true;
      wake?.();
    },
  };
}

function decode(value: string): Readonly<Record<string, number>> {
  try {
    return recordSchema.parse(JSON.parse(value)).counts;
  } catch {
    return {};
  }
}
