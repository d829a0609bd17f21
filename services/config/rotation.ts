import type { Coordination, Entry, Operation } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import { type KeyRing, open, seal } from "#lib/seal.js";
import { isRecord } from "./kinds.js";
import { expectationOf, writeConfig } from "./write.js";

export interface Rotated {
  /** Id of the key that everything is sealed with now. */
  readonly key: string;
  /** Entries that were sealed anew, the history's included. */
  readonly resealed: number;
}

/** Entries of one transaction: small, so that a writer who changes one of them fails few others. */
const BATCH = 50;
const ROUNDS = 32;
const RETRY_MS = 50;
const ENVELOPE = /^ls1:([0-9a-f]{8}):[A-Za-z0-9_-]+$/;

/**
 * Seals everything anew that isn't sealed with the ring's first key: by compare-and-set, so that a change of the moment is
 * never undone; again, until nothing is left. Nodes read the old and the new form alike while it runs, as long as each has
 * both keys. May be stopped and run again at any time. Throws SealError where an entry is sealed with a key that the ring
 * lacks, and the store's errors.
 */
export async function rotateClusterKey(coordination: Coordination, ring: KeyRing): Promise<Rotated> {
  let resealed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const due = await sealedAnew(coordination, ring);
    if (due.length === 0) return { key: ring[0].id, resealed };
    for (let at = 0; at < due.length; at += BATCH) {
      const batch = due.slice(at, at + BATCH);
      const compare = batch.map(({ entry }) => expectationOf(entry.key, entry.modRevision));
      const apply = batch.map(({ entry, value }): Operation => ({ put: entry.key, value }));
      try {
        const result = await writeConfig(coordination, compare, apply, { record: false });
        if (result.applied) resealed += batch.length;
      } catch (error) {
        // Whatever became of it: the next round sees what is left.
        if (!(error instanceof OutcomeUnknownError)) throw error;
      }
    }
    await pause(Math.random() * RETRY_MS);
  }
  throw new LongshoreError("busy", "others keep changing what is to be sealed anew: try again");
}

async function sealedAnew(coordination: Coordination, ring: KeyRing) {
  const [config, history] = await Promise.all([
    coordination.list(keys.configPrefix, { deadlineMs: 10_000 }),
    coordination.list(keys.configHistoryPrefix, { deadlineMs: 10_000 }),
  ]);
  const due = (entry: Entry, value: string | undefined) => (value === undefined ? [] : [{ entry, value }]);
  return [
    ...config.entries.flatMap((entry) => due(entry, resealEntry(entry.value, entry.key, ring))),
    ...history.entries.flatMap((entry) => due(entry, resealHistory(entry.value, ring))),
  ];
}

/** The entry with its envelopes sealed with the ring's first key; undefined where they are already. Throws SealError. */
export function resealEntry(text: string, key: string, ring: KeyRing): string | undefined {
  // Thousands of accounts hold none: they aren't parsed.
  if (!text.includes('"ls1:')) return undefined;
  let changed = false;
  const reseal = (part: unknown): unknown => {
    if (typeof part === "string") {
      const id = ENVELOPE.exec(part)?.[1];
      if (id === undefined || id === ring[0].id) return part;
      changed = true;
      return seal(open(part, ring, key), ring, key);
    }
    if (Array.isArray(part)) return part.map(reseal);
    if (!isRecord(part)) return part;
    return Object.fromEntries(Object.entries(part).map(([name, inner]) => [name, reseal(inner)]));
  };
  const value = reseal(parseOrNothing(text));
  return changed ? JSON.stringify(value) : undefined;
}

/** Past values are entries of their own inside the record. A value that no key opens any more is left: it can't be used. */
function resealHistory(text: string, ring: KeyRing): string | undefined {
  const record = parseOrNothing(text);
  if (!isRecord(record) || !Array.isArray(record.replaced)) return undefined;
  let changed = false;
  const replaced = record.replaced.map((part: unknown): unknown => {
    if (!isRecord(part) || typeof part.before !== "string" || typeof part.key !== "string") return part;
    try {
      const before = resealEntry(part.before, part.key, ring);
      if (before === undefined) return part;
      changed = true;
      return { ...part, before };
    } catch {
      return part;
    }
  });
  return changed ? JSON.stringify({ ...record, replaced }) : undefined;
}

function parseOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
