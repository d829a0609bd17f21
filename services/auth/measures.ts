import { z } from "zod";
import { type Follower, follow } from "#config/follow.js";
import type { SecuritySettings } from "#config/security-schema.js";
import type { Compare, Coordination, Listing, Operation } from "#coordination/contract.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { inForce, isForgotten } from "./policy.js";

/** Who decided on a measure. */
export const IMPOSERS = ["failed-logins", "administrator"] as const;

/** Not strict: during an upgrade newer nodes say more than older ones know. */
export const measureRecordSchema = z.object({
  /** The network or address that is banned, or the account that is locked out. */
  subject: z.string().min(1).max(128),
  at: z.number(),
  until: z.number().nullable(),
  level: z.int().min(1),
  by: z.enum(IMPOSERS),
  reason: z.string().max(256).default(""),
});
export type MeasureRecord = z.infer<typeof measureRecordSchema>;

/**
 * Bans, or lockouts, of the site: one key each, on no lease. This node's own decisions count here at once and go to the store
 * within a quarter of a second; while the store is away they count here alone, until it is back.
 */
export interface Measures {
  start(): void;
  /** Idempotent. */
  stop(): Promise<void>;
  /** In force, or over and still remembered. */
  get(subject: string): MeasureRecord | undefined;
  /** All that are known, in force or remembered. */
  list(): readonly MeasureRecord[];
  /** A decision of this node. */
  impose(record: MeasureRecord): void;
  /** An administrator's: resolves when it is in the store. Throws `StoreUnavailableError`, `OutcomeUnknownError`, `limit`. */
  add(record: MeasureRecord): Promise<void>;
  /** False where there was none. Throws as `add`. */
  remove(subject: string): Promise<boolean>;
  /** What an earlier process knew last: it counts until the store has been listed. */
  preload(records: readonly MeasureRecord[]): void;
  /** Calls back after each change. */
  onChange(callback: () => void): void;
}

export interface MeasuresOptions {
  readonly coordination: Coordination;
  readonly prefix: string;
  readonly now: () => number;
  readonly settings: () => SecuritySettings;
  /** A measure was imposed or lifted, by whomever: what led to it no longer counts. */
  readonly onTurned: (subject: string) => void;
  /** Between looks for records that are forgotten, in milliseconds. Default 30,000. */
  readonly sweepMs?: number;
  readonly logger: Logger;
}

/** In one transaction, and how often one is made: however many addresses attack, so much is asked of the store. */
const MOST_AT_ONCE = 32;
const FLUSH_MS = 250;
const RETRY_MS = 1_000;
/** Records in the store; past that, this node's decisions stay its own. Administrators may go on to twice as many. */
const MOST_RECORDS = 4_000;
const MOST_WAITING = 1_000;
const SWEEP_MS = 30_000;
const SWEEP_AT_ONCE = 100;
const DEBOUNCE_MS = 50;

interface Stored {
  readonly record: MeasureRecord;
  readonly modRevision: number;
}

/** A decision of this node that no listing has shown yet. */
interface Local {
  readonly record: MeasureRecord;
  /** Of the record that it was decided on; 0: there was none. Where another one is there by now, the decision is void. */
  readonly basis: number;
  /** It is in the store since then. */
  readonly revision?: number;
}

export function createMeasures(options: MeasuresOptions): Measures {
  const { coordination, prefix, now, settings, logger } = options;
  let stored: ReadonlyMap<string, Stored> = new Map();
  let listed = false;
  const local = new Map<string, Local>();
  const callbacks = new Set<() => void>();
  const stopping = new AbortController();
  let follower: Follower | undefined;
  let running: Promise<void> | undefined;

  const changed = () => {
    for (const callback of [...callbacks]) callback();
  };

  const onListing = (listing: Listing) => {
    const before = stored;
    const next = new Map<string, Stored>();
    for (const entry of listing.entries) {
      const known = before.get(entry.key.slice(prefix.length));
      const record = known?.modRevision === entry.modRevision ? known.record : decode(entry.value);
      if (record !== undefined && record.subject === entry.key.slice(prefix.length))
        next.set(record.subject, { record, modRevision: entry.modRevision });
    }
    stored = next;
    for (const [subject, { revision, basis }] of local) {
      const overtaken = revision === undefined && basis !== (next.get(subject)?.modRevision ?? 0);
      if (overtaken || (revision !== undefined && revision <= listing.revision)) local.delete(subject);
    }
    if (listed) {
      for (const [subject, { modRevision }] of next)
        if (before.get(subject)?.modRevision !== modRevision) options.onTurned(subject);
      for (const subject of before.keys()) if (!next.has(subject)) options.onTurned(subject);
    }
    listed = true;
    changed();
  };

  const get = (subject: string) => local.get(subject)?.record ?? stored.get(subject)?.record;

  /** Writes decisions of this node. One that somebody else was faster with is dropped: the listing shows the other's. */
  const flush = async (): Promise<boolean> => {
    const waiting = [...local].filter(([, { revision }]) => revision === undefined).slice(0, MOST_AT_ONCE);
    if (!listed || waiting.length === 0 || stored.size >= MOST_RECORDS) return true;
    const compare = waiting.map(([subject, { basis }]): Compare => {
      const key = `${prefix}${subject}`;
      return basis === 0 ? { key, is: "absent" } : { key, is: "modified-at", revision: basis };
    });
    const apply = waiting.map(
      ([subject, { record }]): Operation => ({ put: `${prefix}${subject}`, value: JSON.stringify(record) }),
    );
    try {
      const result = await coordination.transact({ compare, apply });
      for (const [index, [subject, decided]] of waiting.entries()) {
        if (local.get(subject) !== decided) continue;
        if (result.applied) local.set(subject, { ...decided, revision: result.revision });
        else if ((result.found[index]?.[0]?.modRevision ?? 0) !== decided.basis) local.delete(subject);
      }
      if (!result.applied) follower?.refresh();
      return true;
    } catch (error) {
      // It may be applied: the next try's compare finds that out.
      logger.debug("decisions on failed logins weren't written", { prefix, error });
      follower?.refresh();
      return false;
    }
  };

  const sweep = async () => {
    if (!listed) return;
    const at = now();
    const crowded = stored.size > MOST_RECORDS * 0.75;
    const over = [...stored.values()]
      .filter(({ record }) => isForgotten(record, at, settings()) || (crowded && !inForce(record, at)))
      .sort((a, b) => (a.record.until ?? 0) - (b.record.until ?? 0))
      .slice(0, Math.min(SWEEP_AT_ONCE, coordination.maxOperations));
    for (const [subject, { record, revision }] of local)
      if (revision === undefined && !inForce(record, at)) local.delete(subject);
    for (const { record, modRevision } of over) {
      if (stopping.signal.aborted) return;
      const key = `${prefix}${record.subject}`;
      const compare = [{ key, is: "modified-at", revision: modRevision } as const];
      await coordination.transact({ compare, apply: [{ delete: key }] }).catch(() => undefined);
    }
  };

  const run = async () => {
    let sweptAt = monotonicMs();
    while (!stopping.signal.aborted) {
      await pause(FLUSH_MS, stopping.signal);
      if (stopping.signal.aborted) return;
      if (!(await flush())) await pause(RETRY_MS, stopping.signal);
      if (monotonicMs() - sweptAt < (options.sweepMs ?? SWEEP_MS)) continue;
      sweptAt = monotonicMs();
      await sweep();
    }
  };

  return {
    start() {
      follower ??= follow({ coordination, prefix, debounceMs: DEBOUNCE_MS, onListing });
      running ??= run();
    },
    async stop() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      await running;
      await flush();
      follower?.close();
    },
    get,
    preload(records) {
      if (listed) return;
      stored = new Map(records.map((record) => [record.subject, { record, modRevision: 0 }]));
      changed();
    },
    list() {
      const all = new Map([...stored].map(([subject, { record }]) => [subject, record]));
      for (const [subject, { record }] of local) all.set(subject, record);
      return [...all.values()];
    },
    impose(record) {
      if (local.size >= MOST_WAITING && !local.has(record.subject)) return;
      local.set(record.subject, { record, basis: stored.get(record.subject)?.modRevision ?? 0 });
      options.onTurned(record.subject);
      changed();
    },
    async add(record) {
      if (stored.size >= 2 * MOST_RECORDS && !stored.has(record.subject)) {
        throw new LongshoreError(
          "limit",
          "there are too many already: write them as networks, or use addressRules.deny",
        );
      }
      await coordination.transact({
        compare: [],
        apply: [{ put: `${prefix}${record.subject}`, value: JSON.stringify(record) }],
      });
      local.delete(record.subject);
      follower?.refresh();
    },
    async remove(subject) {
      const key = `${prefix}${subject}`;
      const before = await coordination.get(key);
      const ours = local.delete(subject);
      if (before !== undefined) await coordination.transact({ compare: [], apply: [{ delete: key }] });
      follower?.refresh();
      options.onTurned(subject);
      if (ours) changed();
      return ours || before !== undefined;
    },
    onChange: (callback) => void callbacks.add(callback),
  };
}

function decode(value: string): MeasureRecord | undefined {
  try {
    return measureRecordSchema.safeParse(JSON.parse(value)).data;
  } catch {
    return undefined;
  }
}
