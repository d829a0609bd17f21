import { join } from "node:path";
import { type MeasureRecord, measureRecordSchema } from "#auth/measures.js";
import { decodeKept, encodeKept, type KeptFor } from "#config/kept.js";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { readIfThere, writeWhole } from "./snapshot-keeper.js";

/** Bans and lockouts, as last known. */
export interface KeptSecurity {
  readonly bans: readonly MeasureRecord[];
  readonly lockouts: readonly MeasureRecord[];
}

/**
 * Keeps bans and lockouts in a signed file on the node's own disk, so that a node that is started without the store shuts
 * out whom the site shut out.
 */
export interface SecurityKeeper {
  /** Written soon; the newest of several. */
  keep(known: KeptSecurity): void;
  /** What an earlier process left; undefined where there is nothing to be trusted, which the log then says. Never rejects. */
  load(): Promise<KeptSecurity | undefined>;
  /** Writes what is waiting. Idempotent. */
  stop(): Promise<void>;
}

export interface SecurityKeeperOptions {
  /** The node's own. */
  readonly directory: string;
  readonly whose: KeptFor;
  readonly logger: Logger;
  /** Between two writings, in milliseconds. Default 1,000. */
  readonly everyMs?: number;
}

export const SECURITY_FILE = "security-snapshot";
const EVERY_MS = 1_000;
const KINDS = ["bans", "lockouts"] as const;

export function createSecurityKeeper(options: SecurityKeeperOptions): SecurityKeeper {
  const { whose, logger } = options;
  const path = join(options.directory, SECURITY_FILE);
  const stopping = new AbortController();
  let waiting: KeptSecurity | undefined;
  let writing: Promise<void> | undefined;
  let failed = false;

  const writeAll = async () => {
    while (waiting !== undefined) {
      await pause(options.everyMs ?? EVERY_MS, stopping.signal);
      const known = waiting;
      waiting = undefined;
      try {
        const kept = { revision: 0, at: Date.now(), entries: entriesOf(known) };
        await writeWhole(path, encodeKept(kept, whose, "security"), true);
        failed = false;
      } catch (error) {
        if (!failed) logger.warn("bans and lockouts can't be kept on this node's disk", { error });
        failed = true;
        if (stopping.signal.aborted) return;
        // A disk that was full for a while must not leave a file without the last ban for good.
        waiting ??= known;
      }
    }
  };

  const write = () => {
    writing ??= writeAll().finally(() => {
      writing = undefined;
      // One may have come after the last look.
      if (waiting !== undefined) write();
    });
  };

  return {
    keep(known) {
      if (stopping.signal.aborted) return;
      waiting = known;
      write();
    },
    async load() {
      try {
        const text = await readIfThere(path);
        return text === undefined ? undefined : knownIn(decodeKept(text, whose, "security").entries);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        logger.warn("the bans and lockouts on this node's disk are not used", { file: path, why });
        return undefined;
      }
    },
    async stop() {
      stopping.abort();
      await writing;
    },
  };
}

function entriesOf(known: KeptSecurity) {
  return KINDS.flatMap((kind) =>
    known[kind].map((record) => ({
      key: `${kind}/${record.subject}`,
      value: JSON.stringify(record),
      createRevision: 1,
      modRevision: 1,
    })),
  );
}

/** A record that isn't understood (of a newer version, after a downgrade) is left out. */
function knownIn(entries: readonly { readonly key: string; readonly value: string }[]): KeptSecurity {
  const of = (kind: (typeof KINDS)[number]) =>
    entries
      .filter(({ key }) => key.startsWith(`${kind}/`))
      .flatMap(({ value }) => measureRecordSchema.safeParse(JSON.parse(value)).data ?? []);
  return { bans: of("bans"), lockouts: of("lockouts") };
}
