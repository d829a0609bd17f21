import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ConfigKeeper } from "#config/contract.js";
import {
  ageOf,
  type Clocks,
  type Contact,
  decodeContact,
  decodeKept,
  encodeContact,
  encodeKept,
  type Kept,
  type KeptFor,
} from "#config/kept.js";
import type { Listing } from "#coordination/contract.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { systemCode } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { clocksAt, clocksNow } from "./host-clocks.js";

export interface SnapshotKeeperOptions {
  /** The node's own. */
  readonly directory: string;
  readonly whose: KeptFor;
  readonly logger: Logger;
  /** From a change to its writing, in milliseconds: many changes make one file. Default 500. */
  readonly debounceMs?: number;
  /** For tests. */
  readonly clocks?: () => Clocks;
}

/** A snapshot that was read back, and how old it was at that moment. */
export interface LoadedSnapshot {
  readonly kept: Kept;
  /** Since the last contact with the store, in milliseconds; undefined: unknown, so it must serve nobody. */
  readonly ageMs: number | undefined;
}

export interface SnapshotKeeper extends ConfigKeeper {
  /** What an earlier process left; undefined where there is nothing to be trusted, which the log then says. */
  load(): Promise<LoadedSnapshot | undefined>;
  /** Seconds since the file on the disk was last known to be current; undefined before this process wrote one. */
  ageSeconds(): number | undefined;
  /** Writes what is waiting. Idempotent. */
  stop(): Promise<void>;
}

export const SNAPSHOT_FILE = "config-snapshot";
export const CONTACT_FILE = "config-contact";
const DEBOUNCE_MS = 500;
/** Of the time at most one part in so many is spent on writing. */
const REST = 9;
const RETRY_MS = 5_000;
/** 100,000 accounts take about 60 MiB. */
const LARGEST_BYTES = 512 * 1024 * 1024;

/**
 * Keeps the node's configuration on its own disk: the snapshot after each change, and with each proof that it is still
 * the store's a small note of that moment, which is what its age counts from.
 */
export function createSnapshotKeeper(options: SnapshotKeeperOptions): SnapshotKeeper {
  const { directory, whose, logger } = options;
  const snapshotPath = join(directory, SNAPSHOT_FILE);
  const contactPath = join(directory, CONTACT_FILE);
  const stopping = new AbortController();
  let waiting: Listing | undefined;
  /** Of the newest configuration in force, and of the file. */
  let inForce = 0;
  let written: number | undefined;
  let confirmedAt: number | undefined;
  let writing: Promise<void> | undefined;
  let noting: Promise<void> | undefined;
  let failed = false;
  /** The last writing took so long. */
  let lastMs = 0;

  const writeAll = async () => {
    while (waiting !== undefined) {
      // A large site's file takes a while to write: many changes in a row must not keep the node at nothing else.
      await pause(Math.max(options.debounceMs ?? DEBOUNCE_MS, lastMs * REST), stopping.signal);
      const startedAt = monotonicMs();
      const listing = waiting;
      waiting = undefined;
      const revision = revisionOf(listing);
      try {
        const kept: Kept = { revision, at: Date.now(), entries: listing.entries };
        await writeWhole(snapshotPath, encodeKept(kept, whose), true);
        written = revision;
        lastMs = monotonicMs() - startedAt;
        if (failed) logger.info("the configuration can be kept on this node's disk again", { revision });
        failed = false;
      } catch (error) {
        if (!failed) logger.warn("the configuration can't be kept on this node's disk", { error });
        failed = true;
        waiting ??= listing;
        if (stopping.signal.aborted) return;
        await pause(RETRY_MS, stopping.signal);
      }
    }
  };

  const write = () => {
    writing ??= writeAll().finally(() => {
      writing = undefined;
      // One may have come after the last look.
      if (waiting !== undefined && !stopping.signal.aborted) write();
    });
  };

  return {
    inForce(listing) {
      inForce = revisionOf(listing);
      waiting = listing;
      write();
    },

    confirmed(at) {
      // The note must never vouch for more than the file holds.
      if (written === undefined || written !== inForce || noting !== undefined || stopping.signal.aborted) return;
      const revision = written;
      const clocks = options.clocks?.() ?? clocksAt(at);
      const text = encodeContact({ revision, ...clocks }, whose);
      // Not synced: losing the last ones makes the snapshot look older than it is, which is the safe side.
      noting = writeWhole(contactPath, [text], false)
        .then(
          () => {
            confirmedAt = at;
          },
          (error: unknown) => logger.debug("the last contact can't be noted", { error }),
        )
        .finally(() => {
          noting = undefined;
        });
    },

    async load() {
      const text = await readIfThere(snapshotPath);
      if (text === undefined) return undefined;
      try {
        const kept = decodeKept(text, whose);
        const contact = await readContact(contactPath, whose);
        return { kept, ageMs: contact && ageOf(kept, contact, options.clocks?.() ?? clocksNow()) };
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        logger.warn("the configuration on this node's disk is not used", { file: snapshotPath, why });
        return undefined;
      }
    },

    ageSeconds: () => (confirmedAt === undefined ? undefined : (monotonicMs() - confirmedAt) / 1_000),

    async stop() {
      stopping.abort();
      await writing;
      await noting;
    },
  };
}

/** As the config view counts it: the newest change among the entries (snapshot.ts). */
function revisionOf(listing: Listing): number {
  return listing.entries.reduce((newest, entry) => Math.max(newest, entry.modRevision), 0);
}

async function readContact(path: string, whose: KeptFor): Promise<Contact | undefined> {
  const text = await readIfThere(path);
  return text === undefined ? undefined : decodeContact(text, whose);
}

export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > LARGEST_BYTES) throw new Error(`it has ${size} bytes`);
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Written aside and renamed in place: a crash leaves the old file or the new one. */
export async function writeWhole(path: string, pieces: Iterable<string>, durable: boolean): Promise<void> {
  const aside = `${path}.new`;
  try {
    const file = await open(aside, "w", 0o600);
    try {
      for (const piece of pieces) await file.write(piece);
      if (durable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {});
    throw error;
  }
}
