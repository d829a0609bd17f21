import { z } from "zod";
import { type Follower, follow } from "#config/follow.js";
import type { SecuritySettings } from "#config/security-schema.js";
import type { Coordination, Entry, Listing } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { FailureHistory } from "./history.js";

/**
 * Failed logins, counted by all nodes together. Each node writes one bounded key, at most each 250 ms and only when it has
 * changed, whatever the attack: what a flood costs the store doesn't grow with the flood. The key hangs on no lease, so it
 * outlives the restart of every node; its own times say when it is over.
 */
export interface FailureCounters {
  start(): void;
  /** Writes what is left to be written, if the store answers. Idempotent. */
  stop(): Promise<void>;
  add(kind: CounterKind, source: string): void;
  /** In the window, over all nodes. */
  count(kind: CounterKind, source: string): number;
  /** This node's part of it; each node forgets its own. */
  forget(kind: CounterKind, source: string): void;
}

export type CounterKind = "addresses" | "accounts";
const KINDS = ["addresses", "accounts"] as const;

export interface FailureCountersOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  /** The site's clock, milliseconds since 1970. */
  readonly now: () => number;
  readonly settings: () => SecuritySettings;
  readonly onFlush: (bytes: number) => void;
  /** Another node told of more failures of a source that has failed here, too: together they may be enough. */
  readonly onTold: (kind: CounterKind, source: string) => void;
  readonly logger: Logger;
  /** Between writes, in milliseconds. Default 250. */
  readonly flushMs?: number;
  /** Between looks for keys that are over, in milliseconds. Default 60,000. */
  readonly sweepMs?: number;
}

/** Sources of each kind in memory, and in the key. */
const MOST_IN_MEMORY = 10_000;
const MOST_TOLD = 500;
const FLUSH_MS = 250;
/** After a write that failed. */
const RETRY_MS = 1_000;
const SWEEP_MS = 60_000;
/** Others' counters change up to four times a second each. */
const DEBOUNCE_MS = 100;

const toldSchema = z.array(z.tuple([z.string().max(128), z.array(z.number()).max(64)])).max(MOST_TOLD);
/** Not strict: during an upgrade newer nodes say more than older ones know. */
const recordSchema = z.object({ addresses: toldSchema, accounts: toldSchema });

interface Counts extends Record<CounterKind, FailureHistory> {
  modRevision: number;
}

export function createFailureCounters(options: FailureCountersOptions): FailureCounters {
  const { coordination, nodeId, now, settings, logger } = options;
  const ownKey = keys.counters(nodeId);
  const own = counts();
  const others = new Map<string, Counts>();
  const stopping = new AbortController();
  let follower: Follower | undefined;
  let running: Promise<void> | undefined;
  /** What this node's key held when it started is taken over first: writing before that would lose it. */
  let inherited = false;
  let dirty = false;
  let written = "";

  const onListing = (listing: Listing) => {
    const present = new Set<string>();
    const told: Counts[] = [];
    for (const entry of listing.entries) {
      if (entry.key === ownKey) {
        if (!inherited) {
          mergeInto(own, entry);
          written = entry.value;
        }
        continue;
      }
      present.add(entry.key);
      if (others.get(entry.key)?.modRevision === entry.modRevision) continue;
      const fresh = counts(entry.modRevision);
      mergeInto(fresh, entry);
      others.set(entry.key, fresh);
      told.push(fresh);
    }
    inherited = true;
    for (const key of others.keys()) if (!present.has(key)) others.delete(key);
    for (const fresh of told)
      for (const kind of KINDS)
        for (const source of fresh[kind].sources()) if (own[kind].has(source)) options.onTold(kind, source);
  };

  const render = (): string => {
    const { windowMs } = settings();
    const told = (kind: CounterKind) => own[kind].top(MOST_TOLD, now(), windowMs);
    const [addresses, accounts] = [told("addresses"), told("accounts")];
    return addresses.length + accounts.length === 0 ? "" : JSON.stringify({ addresses, accounts });
  };

  /** Whether it went well, or there was nothing to do. */
  const flush = async (): Promise<boolean> => {
    if (!inherited || !dirty) return true;
    dirty = false;
    const value = render();
    if (value === written) return true;
    try {
      const apply = [value === "" ? { delete: ownKey } : { put: ownKey, value }];
      await coordination.transact({ compare: [], apply });
      written = value;
      options.onFlush(value.length);
      return true;
    } catch (error) {
      // Written or not: the next one says it all again.
      dirty = true;
      written = "?";
      logger.debug("the counters of failed logins weren't written", { error });
      return false;
    }
  };

  /** Keys in which everything is older than the window: this node's own, and those of nodes that are gone for good. */
  const sweep = async () => {
    const { windowMs } = settings();
    if (written !== "" && render() === "") dirty = true;
    for (const [key, { modRevision, ...told }] of [...others]) {
      if (KINDS.some((kind) => told[kind].top(1, now(), windowMs).length > 0)) continue;
      const compare = [{ key, is: "modified-at", revision: modRevision } as const];
      await coordination.transact({ compare, apply: [{ delete: key }] }).catch(() => undefined);
    }
  };

  const run = async () => {
    let sweptAt = monotonicMs();
    while (!stopping.signal.aborted) {
      await pause(options.flushMs ?? FLUSH_MS, stopping.signal);
      if (stopping.signal.aborted) return;
      if (!(await flush())) await pause(RETRY_MS, stopping.signal);
      if (monotonicMs() - sweptAt < (options.sweepMs ?? SWEEP_MS)) continue;
      sweptAt = monotonicMs();
      await sweep();
    }
  };

  return {
    start() {
      follower ??= follow({ coordination, prefix: keys.counterPrefix, debounceMs: DEBOUNCE_MS, onListing });
      running ??= run();
    },
    async stop() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      follower?.close();
      await running;
      await flush();
    },
    add(kind, source) {
      own[kind].add(source, now(), settings().windowMs);
      dirty = true;
    },
    count(kind, source) {
      const { windowMs } = settings();
      const at = now();
      let sum = own[kind].count(source, at, windowMs);
      for (const other of others.values()) sum += other[kind].count(source, at, windowMs);
      return sum;
    },
    forget(kind, source) {
      if (own[kind].forget(source)) dirty = true;
    },
  };
}

function counts(modRevision = 0): Counts {
  return { addresses: new FailureHistory(MOST_IN_MEMORY), accounts: new FailureHistory(MOST_IN_MEMORY), modRevision };
}

/** One of a form that we don't know counts nothing. */
function mergeInto(target: Counts, entry: Entry): void {
  try {
    const record = recordSchema.parse(JSON.parse(entry.value));
    for (const kind of KINDS) target[kind].merge(record[kind]);
  } catch {
    // Written by another version: better no counters than no logins.
  }
}
