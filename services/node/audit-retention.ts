import { join } from "node:path";
import { AUDIT_ON_STORAGE } from "#audit/contract.js";
import { oldBefore, planRetention, removeSegments, retentionRecord, writtenAt } from "#audit/retention.js";
import type { ConfigView } from "#config/contract.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { NodeAudit } from "./audit.js";

export interface AuditRetentionOptions {
  readonly config: ConfigView;
  readonly audit: Pick<NodeAudit, "recordDurably" | "position" | "shippedPosition">;
  /** Root of the shared storage; undefined while it isn't there. */
  readonly storagePath: () => string | undefined;
  /** This node's name, for the record. */
  readonly node: string;
  /** Of the coordinator's tenure. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** To the first look, in milliseconds. Default 2,000. */
  readonly firstMs?: number;
  /** This node's clock, in milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => number;
}

const EVERY_MS = 3_600_000;
const AGAIN_MS = 60_000;
const FIRST_MS = 2_000;
const SHIPPED_MS = 30_000;

/** The coordinator's work on old audit segments, until its tenure ends. */
export async function keepAuditShort(options: AuditRetentionOptions): Promise<void> {
  const { config, signal, logger, firstMs = FIRST_MS } = options;
  const wanted = () => config.snapshot().site.auditRetentionDays;
  let nap = new AbortController();
  let days = 0;
  const off = config.onChange(() => {
    // Any other change of the configuration is no reason to look, nor to begin the wait anew.
    if (wanted() !== days) nap.abort();
  });
  try {
    for (let waitMs = firstMs; !signal.aborted; ) {
      await pause(waitMs, signal, nap.signal);
      if (signal.aborted) return;
      // Before the look, so that a change during it brings the next one.
      nap = new AbortController();
      waitMs = EVERY_MS;
      days = wanted();
      if (days === 0) continue;
      try {
        if (await removeOnce(options, days)) waitMs = firstMs;
      } catch (error) {
        if (signal.aborted) return;
        logger.warn("old audit segments are removed later", { error: String(error) });
        waitMs = AGAIN_MS;
      }
    }
  } finally {
    off();
  }
}

/** True where something was removed, and more may be there. */
export async function removeOnce(options: AuditRetentionOptions, days: number): Promise<boolean> {
  const { audit, signal, logger, now = Date.now } = options;
  const storage = options.storagePath();
  if (storage === undefined) throw new LongshoreError("unavailable", "the storage isn't there");
  const directory = join(storage, AUDIT_ON_STORAGE);
  const before = oldBefore(days, await writtenAt(directory, signal), now());
  const retention = await planRetention(directory, before, signal);
  if (retention === undefined) return false;
  await audit.recordDurably(retentionRecord(retention, options.node, days));
  // A busy log has something unshipped at any time: what counts is that the record itself is there.
  const recorded = audit.position()?.seq ?? 0;
  const until = monotonicMs() + SHIPPED_MS;
  while ((audit.shippedPosition()?.seq ?? 0) < recorded) {
    if (monotonicMs() > until) throw new LongshoreError("busy", "the record of it isn't on the shared storage yet");
    await pause(100, signal);
    signal.throwIfAborted();
  }
  await removeSegments(directory, retention);
  logger.info("old audit segments were removed", { segments: retention.segments.length, days });
  return true;
}
