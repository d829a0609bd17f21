import { join } from "node:path";
import { AUDIT_ON_STORAGE, type AuditSink } from "#audit/contract.js";
import { planRetention, removeSegments, retentionRecord } from "#audit/retention.js";
import type { ConfigView } from "#config/contract.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";

export interface AuditRetentionOptions {
  readonly config: ConfigView;
  readonly audit: AuditSink & { figures(): { readonly unshippedBytes: number } | undefined };
  /** Root of the shared storage; undefined while it isn't there. */
  readonly storagePath: () => string | undefined;
  /** This node's name, for the record. */
  readonly node: string;
  /** Of the coordinator's tenure. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

const EVERY_MS = 3_600_000;
const AGAIN_MS = 60_000;
const FIRST_MS = 2_000;
const SHIPPED_MS = 30_000;
const DAY_MS = 86_400_000;

/** The coordinator's work on old audit segments, until its tenure ends. */
export async function keepAuditShort(options: AuditRetentionOptions): Promise<void> {
  const { config, signal, logger } = options;
  let nap = new AbortController();
  const off = config.onChange(() => nap.abort());
  let days = 0;
  try {
    for (let waitMs = FIRST_MS; !signal.aborted; ) {
      nap = new AbortController();
      await pause(waitMs, signal, nap.signal);
      if (signal.aborted) return;
      waitMs = EVERY_MS;
      const wanted = config.snapshot().site.auditRetentionDays;
      // any other change of the configuration is no reason to look
      if (nap.signal.aborted && wanted === days) continue;
      days = wanted;
      if (days === 0) continue;
      try {
        if (await removeOnce(options, days)) waitMs = FIRST_MS;
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
  const { audit, signal, logger } = options;
  const storage = options.storagePath();
  if (storage === undefined) throw new LongshoreError("unavailable", "the storage isn't there");
  const directory = join(storage, AUDIT_ON_STORAGE);
  const retention = await planRetention(directory, Date.now() - days * DAY_MS, signal);
  if (retention === undefined) return false;
  await audit.recordDurably(retentionRecord(retention, options.node, days));
  const until = monotonicMs() + SHIPPED_MS;
  while ((audit.figures()?.unshippedBytes ?? 0) > 0) {
    if (monotonicMs() > until) throw new LongshoreError("busy", "the record of it isn't on the shared storage yet");
    await pause(100, signal);
    signal.throwIfAborted();
  }
  await removeSegments(directory, retention);
  logger.info("old audit segments were removed", { segments: retention.segments.length, days });
  return true;
}
