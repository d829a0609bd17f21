import { z } from "zod";
import type { AuditSink } from "#audit/contract.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import type { LifeTenure } from "./life.js";
import { type Mailer, type Notice, noticeMail } from "./mail.js";

/** `intended` is stored before the mail goes out: a death in between shows. */
const noticeSchema = z.object({ state: z.enum(["intended", "sent"]), generation: z.number(), tries: z.number() });

/** A server that refuses a mail for so many looks refuses it for ever. */
const MOST_TRIES = 10;

export interface SendOptions {
  readonly tenure: Pick<LifeTenure, "coordination" | "generation">;
  readonly notice: Notice;
  readonly site: { readonly name: string; readonly id: string };
  readonly mailer: Mailer;
  readonly now: number;
  readonly audit: AuditSink;
  readonly logger: Logger;
}

export function noticeKey({ account, kind, due, daysBefore }: Notice): string {
  return keys.notice(account, kind, new Date(due).toISOString().slice(0, 10), daysBefore);
}

/**
 * Once per cluster: the record is made by compare-and-set under the coordinator's fence before the mail goes out. Where the
 * coordinator dies between the mail and `sent`, the next one sends it again, under the same Message-ID: a notice that comes
 * twice does no harm, one that never comes does.
 */
export async function sendNotice(options: SendOptions): Promise<void> {
  const { tenure, notice, site, mailer, now, audit, logger } = options;
  const { coordination, generation } = tenure;
  const key = noticeKey(notice);
  const entry = await coordination.get(key);
  const before = entry === undefined ? undefined : parse(entry.value);
  if (before?.state === "sent" || (before?.tries ?? 0) >= MOST_TRIES) return;
  const tries = (before?.tries ?? 0) + 1;
  const intended = await coordination.transact({
    compare: [entry === undefined ? { key, is: "absent" } : { key, is: "modified-at", revision: entry.modRevision }],
    apply: [{ put: key, value: JSON.stringify({ state: "intended", generation, tries }) }],
  });
  if (!intended.applied) return;
  const mail = noticeMail(notice, site, key, now);
  const details = { kind: notice.kind, to: notice.mail, daysBefore: notice.daysBefore, messageId: mail.messageId };
  const record = { kind: "life", what: "notice", who: notice.account } as const;
  try {
    await mailer.send(mail);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    logger.warn("a notice can't be sent; it is tried again at the next look", {
      account: notice.account,
      tries,
      reason,
    });
    audit.record({ ...record, outcome: "failed", details: { ...details, tries, reason } });
    return;
  }
  audit.record({ ...record, outcome: "ok", details });
  await coordination.transact({
    compare: [{ key, is: "modified-at", revision: intended.revision }],
    apply: [{ put: key, value: JSON.stringify({ state: "sent", generation, tries }) }],
  });
}

function parse(value: string) {
  try {
    const parsed = noticeSchema.safeParse(JSON.parse(value));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
