import { ancestorsOf } from "#commit/plan.js";
import { NO_USAGE, parseUsage, readUsage, type Usage } from "#commit/usage.js";
import type { ConfigView } from "#config/contract.js";
import { follow } from "#config/follow.js";
import type { Coordination, Entry, Listing } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { isCode, LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Store } from "#storage/contract.js";
import { corrected, recountIn } from "./correct.js";
import { meteredPlaces } from "./limits.js";

export interface RecountOptions {
  /** The store, each transaction fenced by the coordinator's tenure. */
  readonly coordination: Coordination;
  readonly config: ConfigView;
  /** Undefined until this node has its storage. */
  readonly store: () => Store | undefined;
  /** Of the tenure. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

const IDLE_MS = 60_000;
const AGAIN_MS = 2_000;
/** Counters of busy folders change with each commit. */
const DEBOUNCE_MS = 300;
const CREATED_TOGETHER = 32;
/** Changes that were decided before the walk are in place within this, or it is put off. */
const SETTLE_MS = 20_000;
const SETTLE_STEP_MS = 50;
const PAGE = 1_000;

/** The coordinator's work on quotas until its tenure ends: each place has its counter, and each counter is right. */
export async function keepUsage(options: RecountOptions): Promise<void> {
  const { coordination, config, signal, logger } = options;
  let nap = new AbortController();
  const wake = () => nap.abort();
  const off = config.onChange(wake);
  let counters: readonly Entry[] | undefined;
  const onListing = ({ entries }: Listing) => {
    counters = entries;
    wake();
  };
  const follower = follow({ coordination, prefix: keys.usagePrefix("main"), debounceMs: DEBOUNCE_MS, onListing });
  let trouble: string | undefined;
  try {
    while (!signal.aborted) {
      nap = new AbortController();
      let waitMs = AGAIN_MS;
      try {
        const store = options.store();
        if (store !== undefined && counters !== undefined) waitMs = await round(options, store, counters);
        trouble = undefined;
      } catch (error) {
        if (signal.aborted || isCode(error, "superseded")) return;
        if (trouble !== String(error)) logger.warn("folders with a quota are counted later", { error: String(error) });
        trouble = String(error);
      }
      await pause(waitMs, signal, nap.signal);
    }
  } finally {
    off();
    follower.close();
  }
}

/** One look at all of them; at most one place is counted. Resolves with how long nothing is due. */
async function round(options: RecountOptions, store: Store, entries: readonly Entry[]): Promise<number> {
  const { coordination, config, signal, logger } = options;
  const prefix = keys.usagePrefix(store.name);
  const places = meteredPlaces(config.snapshot());
  const known = new Map(entries.map((entry) => [entry.key.slice(prefix.length), entry]));
  const missing = [...places.keys()].filter((target) => !known.has(target));
  for (let at = 0; at < missing.length; at += CREATED_TOGETHER) {
    const batch = missing.slice(at, at + CREATED_TOGETHER).map((target) => keys.usage(store.name, target));
    await coordination.transact({
      compare: batch.map((key) => ({ key, is: "absent" as const })),
      apply: batch.map((key) => ({ put: key, value: JSON.stringify(NO_USAGE) })),
    });
  }
  for (const [target, entry] of known) {
    if (places.has(target)) continue;
    const compare = [{ key: entry.key, is: "modified-at" as const, revision: entry.modRevision }];
    await coordination.transact({ compare, apply: [{ delete: entry.key }] });
  }
  let next = { target: "", inMs: IDLE_MS };
  for (const [target, entry] of known) {
    if (!places.has(target)) continue;
    const usage = readUsage(entry);
    if (usage === undefined) {
      await begunAnew(entry, target, options);
      continue;
    }
    const inMs = recountIn(usage, Date.now());
    if (inMs < next.inMs) next = { target, inMs };
  }
  if (next.inMs > 0) return next.inMs;
  const result = await recount(next.target, { coordination, store, signal });
  if (result !== undefined && result.usage.bytes !== result.before.bytes) {
    const { usage, before } = result;
    logger.info("the usage of a folder with a quota was put right", {
      folder: next.target,
      before: before.bytes,
      now: usage.bytes,
      exact: usage.exact,
    });
  }
  return AGAIN_MS; // the change of the counter wakes it before
}

/**
 * One damaged counter must hold up neither the other places nor the commits into its own. The new one is counted when its
 * change was heard of.
 */
async function begunAnew(entry: Entry, target: string, { coordination, logger }: RecountOptions): Promise<void> {
  const { applied } = await coordination.transact({
    compare: [{ key: entry.key, is: "modified-at", revision: entry.modRevision }],
    apply: [{ put: entry.key, value: JSON.stringify(NO_USAGE) }],
  });
  if (applied) logger.warn("a folder's usage in the store can't be read: it is counted anew", { folder: target });
}

/** Counts one place. Undefined where it has no counter (any more). */
export async function recount(
  target: string,
  options: { readonly coordination: Coordination; readonly store: Store; readonly signal: AbortSignal },
): Promise<{ readonly before: Usage; readonly usage: Usage } | undefined> {
  const { coordination, store, signal } = options;
  const key = keys.usage(store.name, target);
  const first = await coordination.get(key);
  if (first === undefined) return undefined;
  const before = parseUsage(first);
  // what the counter has by now must be in its place before the walk begins
  await settled(target, options);
  const startedAt = monotonicMs();
  const { bytes: walked } = await store.measure(target, signal);
  const tookMs = Math.round(monotonicMs() - startedAt);
  for (let tries = 0; tries < 20; tries += 1) {
    const entry = await coordination.get(key);
    if (entry === undefined) return undefined;
    const after = parseUsage(entry);
    const usage = corrected({ before, after, walked, now: Date.now(), tookMs });
    const { applied } = await coordination.transact({
      compare: [{ key, is: "modified-at", revision: entry.modRevision }],
      apply: [{ put: key, value: JSON.stringify(usage) }],
    });
    if (applied) return { before: after, usage };
  }
  throw new LongshoreError("busy", `${target} changes too fast to be counted now`);
}

async function settled(
  target: string,
  { coordination, store, signal }: { coordination: Coordination; store: Store; signal: AbortSignal },
): Promise<void> {
  // a directory above it, or it itself, may be on its way, too
  const above = [target, ...ancestorsOf(target)].map((path) => keys.name(store.name, path));
  const claims = async () => {
    const [{ entries }, ...held] = await Promise.all([
      coordination.list(keys.namesBelow(store.name, target), { limit: PAGE }),
      ...above.map((key) => coordination.get(key)),
    ]);
    return [...entries, ...held].flatMap((entry) => entry?.value ?? []);
  };
  const waiting = new Set(await claims());
  const until = monotonicMs() + SETTLE_MS;
  while (waiting.size > 0) {
    if (monotonicMs() > until) throw new LongshoreError("busy", `changes in ${target} aren't finished yet`);
    await pause(SETTLE_STEP_MS, signal);
    signal.throwIfAborted();
    const now = new Set(await claims());
    for (const id of waiting) if (!now.has(id)) waiting.delete(id);
  }
}
