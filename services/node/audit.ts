import { mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { ChainPosition } from "#audit/chain.js";
import { AUDIT_ON_STORAGE, type AuditEntry, type AuditKind, type AuditSink } from "#audit/contract.js";
import { type AuditQuery, type Found, searchAudit } from "#audit/query.js";
import { createRefusalFilter, type RefusalFilter, refusalKind } from "#audit/refusals.js";
import { createShipper, type Shipper } from "#audit/ship.js";
import { openSpool, type Spool } from "#audit/spool.js";
import type { NodeIdentity } from "#cluster/contract.js";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { Semaphore } from "#lib/semaphore.js";

export interface NodeAuditOptions {
  readonly identity: NodeIdentity;
  /** The node's own disk. */
  readonly dataDirectory: string;
  /** Root of the shared storage. */
  readonly storagePath: string;
  /** Whether that is there, is the site's, and this process is its node's only one. */
  readonly mayShip: () => boolean;
  readonly logger: Logger;
}

export interface AuditFigures {
  readonly records: number;
  readonly lost: number;
  readonly spoolBytes: number;
  readonly unshippedBytes: number;
  readonly lagMs: number;
  readonly chainErrors: number;
}

/** The node's audit log: its spool, and what brings that to the storage. */
export interface NodeAudit extends AuditSink {
  /** From now on records reach the disk; those before wait in memory. `life` names this process, never used before. */
  open(life: string): Promise<void>;
  /** Why nothing can be recorded; undefined while all is well. */
  problem(): string | undefined;
  /** What an operator should look at, though records are still kept. */
  warning(): string | undefined;
  figures(): AuditFigures | undefined;
  /** Where the chain stands on this node's disk. */
  position(): ChainPosition | undefined;
  /** Up to where the chain is certainly on the shared storage. */
  shippedPosition(): ChainPosition | undefined;
  search(query: AuditQuery, signal: AbortSignal): Promise<Found>;
  /** Records the end, writes and ships what is left. Idempotent, never rejects. */
  stop(): Promise<void>;
}

/** A node that waits for its store tells little: its own states. */
const MOST_EARLY = 1_000;
const LOOK_MS = 10_000;
const REFUSALS_MS = 60_000;
/** Kinds of records that anybody may cause at any rate. */
const REFUSALS: readonly AuditKind[] = ["login-refused", "file", "admin"];
/** Below so much free space on the node's own disk it says so. */
const LOW_SPACE_BYTES = 256 << 20;
/** Unshipped for so long: the storage takes nothing. */
const LATE_MS = 60_000;

export function createNodeAudit(options: NodeAuditOptions): NodeAudit {
  const { identity, logger } = options;
  const directory = join(options.dataDirectory, "audit");
  const onStorage = join(options.storagePath, AUDIT_ON_STORAGE);
  // one at a time: each may hold a segment in memory
  const searches = new Semaphore(1, 8);
  const early: AuditEntry[] = [];
  let spool: Spool | undefined;
  let shipper: Shipper | undefined;
  const refusals = new Map<AuditKind | undefined, RefusalFilter>();
  for (const kind of REFUSALS) refusals.set(kind, createRefusalFilter(kind));
  let timer: NodeJS.Timeout | undefined;
  let period: NodeJS.Timeout | undefined;
  let freeBytes: number | undefined;
  let saidWarning: string | undefined;
  let stopped: Promise<void> | undefined;

  const warning = (): string | undefined => {
    if (freeBytes !== undefined && freeBytes < LOW_SPACE_BYTES) {
      return `the node's own disk is nearly full (${freeBytes} bytes free): audit records will soon be lost`;
    }
    const lagMs = shipper?.lagMs() ?? 0;
    if (lagMs < LATE_MS) return undefined;
    return `audit records wait on this node for ${Math.round(lagMs / 1_000)} s: the shared storage doesn't take them`;
  };
  const concludeRefusals = () => {
    for (const filter of refusals.values()) for (const entry of filter.conclude()) spool?.record(entry);
  };
  const look = async () => {
    freeBytes = await statfs(directory).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => undefined,
    );
    const now = warning();
    if ((now === undefined) !== (saidWarning === undefined)) {
      if (now === undefined) logger.info("the audit log is well again");
      else logger.error("the audit log needs an operator", { reason: now });
    }
    saidWarning = now;
  };

  return {
    async open(life) {
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 });
        spool = await openSpool({
          directory,
          node: identity.name,
          nodeId: identity.id,
          life,
          version: identity.version,
          logger,
        });
      } catch (error) {
        const why = asLongshoreError(error, "can't be opened").message;
        throw new LongshoreError("io", `dataDirectory: the audit spool ${directory} ${why}`, error);
      }
      shipper = createShipper({
        spool,
        directory,
        target: () => (options.mayShip() ? join(onStorage, identity.id) : undefined),
        logger,
      });
      spool.record({
        kind: "start",
        what: "start",
        outcome: "ok",
        who: identity.name,
        details: { version: identity.version },
      });
      for (const entry of early.splice(0)) spool.record(entry);
      shipper.start();
      timer = setInterval(() => void look(), LOOK_MS).unref();
      period = setInterval(concludeRefusals, REFUSALS_MS).unref();
      await look();
    },
    record(asked) {
      const filter = refusals.get(refusalKind(asked));
      const entry = filter === undefined ? asked : filter.admit(asked);
      if (entry === undefined) return;
      if (spool !== undefined) spool.record(entry);
      else if (early.length < MOST_EARLY) early.push(entry);
    },
    async recordDurably(entry, withinMs) {
      if (spool === undefined) throw new LongshoreError("unavailable", "the audit log isn't open yet: try again");
      await spool.recordDurably(entry, withinMs);
    },
    problem: () => spool?.problem(),
    warning,
    figures() {
      if (spool === undefined || shipper === undefined) return undefined;
      return {
        records: spool.records,
        lost: spool.dropped,
        spoolBytes: spool.bytes,
        unshippedBytes: shipper.unshippedBytes(),
        lagMs: shipper.lagMs(),
        chainErrors: spool.chainErrors + shipper.damaged,
      };
    },
    position: () => spool?.position(),
    shippedPosition: () => shipper?.shippedPosition(),
    search: (query, signal) => searches.run(() => searchAudit(onStorage, query, signal)),
    stop() {
      stopped ??= (async () => {
        clearInterval(timer);
        clearInterval(period);
        concludeRefusals();
        await spool
          ?.recordDurably({ kind: "stop", what: "stop", outcome: "ok", who: identity.name }, 1_000)
          .catch(() => {});
        await shipper?.stop();
        await spool?.close();
      })();
      return stopped;
    },
  };
}
