import { schedule, validate } from "node-cron";
import type { AuditSink } from "#audit/contract.js";
import type { Accounts } from "#config/accounts.js";
import type { ConfigView } from "#config/contract.js";
import { accountLifeSchema, type MailSettings } from "#config/life-schema.js";
import type { Coordination, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { isCode } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { mergeUsage, readActivity, readUsage } from "./activity.js";
import { createMailer, type Mailer } from "./mail.js";
import { sendNotice } from "./notices.js";
import { type LifeAction, planLife, type Usage } from "./plan.js";

/** Of the coordinator's tenure (cluster/coordinator.ts). */
export interface LifeTenure {
  readonly generation: number;
  readonly signal: AbortSignal;
  /** The store, each transaction fenced by the tenure. */
  readonly coordination: Coordination;
  /** Writes through `coordination`. */
  readonly accounts: Accounts;
}

export interface LifeOptions {
  readonly config: ConfigView;
  readonly audit: AuditSink;
  /** Opens a sealed value that lies under a store key. Throws where it can't. */
  readonly unseal: (sealed: string, storeKey: string) => string;
  readonly logger: Logger;
  /** Milliseconds since 1970. Default the wall clock. */
  readonly now?: () => number;
}

/** Expired notices are forgotten so long after what they were about. */
const NOTICE_KEPT_MS = 60 * 86_400_000;

/**
 * The life of accounts, done by the coordinator until its tenure ends: once at its beginning (what a dead one left undone)
 * and as the site's schedule says.
 */
export async function runLife(tenure: LifeTenure, options: LifeOptions): Promise<void> {
  const { config, logger } = options;
  let running: Promise<void> | undefined;
  const tick = () => {
    running ??= lookOnce(tenure, options)
      .catch((error: unknown) => {
        if (!tenure.signal.aborted && !isCode(error, "superseded"))
          logger.warn("the life of accounts is looked after later", { error: String(error) });
      })
      .finally(() => {
        running = undefined;
      });
  };
  let expression = "";
  let task: { destroy(): void | Promise<void> } | undefined;
  const reschedule = () => {
    const wanted = config.snapshot().site.accountLife.schedule;
    if (wanted === expression) return;
    expression = wanted;
    void task?.destroy();
    const valid = validate(wanted);
    if (!valid) logger.error("accountLife.schedule isn't a schedule: the default is used", { schedule: wanted });
    task = schedule(valid ? wanted : accountLifeSchema.parse({}).schedule, tick, {
      name: "account-life",
      timezone: "Etc/UTC",
    });
  };
  reschedule();
  const off = config.onChange(reschedule);
  tick();
  await new Promise<void>((resolve) => {
    if (tenure.signal.aborted) resolve();
    else tenure.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  off();
  await task?.destroy();
  await running;
}

/** One look at all accounts: what is known of their use, what is due, and doing it. */
export async function lookOnce(tenure: LifeTenure, options: LifeOptions): Promise<void> {
  const { coordination } = tenure;
  const { site, accounts } = options.config.snapshot();
  const now = (options.now ?? Date.now)();
  const usage = await mergeActivity(coordination, accounts, now);
  const actions = planLife({ accounts: accounts.values(), usage, settings: site.accountLife, now });
  let mailer: Mailer | undefined;
  try {
    for (const action of actions) {
      if (tenure.signal.aborted) return;
      if (action.act !== "notice") await end(tenure, action, usage, options);
      else if (site.mail !== undefined) {
        mailer ??= mailerOf(site.mail, options);
        await sendNotice({ tenure, notice: action, site, mailer, now, audit: options.audit, logger: options.logger });
      }
    }
  } finally {
    mailer?.close();
  }
  await forgetNotices(coordination, now);
}

function mailerOf(mail: MailSettings, { unseal }: LifeOptions): Mailer {
  return createMailer(mail, mail.passwordSealed === undefined ? undefined : unseal(mail.passwordSealed, keys.site));
}

async function mergeActivity(
  coordination: Coordination,
  accounts: ReadonlyMap<string, { readonly enabled: boolean }>,
  now: number,
): Promise<Map<string, Usage>> {
  const { logins, entries } = await readActivity(coordination);
  const known = new Map([...accounts].map(([name, { enabled }]) => [name, enabled]));
  const { usage, operations } = mergeUsage(await readUsage(coordination), logins, known, now);
  await inPieces(coordination, operations);
  // what a node wrote since it was read stays for the next look
  for (const { key, modRevision } of entries) {
    const compare = [{ key, is: "modified-at" as const, revision: modRevision }];
    await coordination.transact({ compare, apply: [{ delete: key }] });
  }
  return usage;
}

/** Disables or removes. An account that somebody changed since is left for the next look. */
async function end(
  { accounts, coordination }: LifeTenure,
  action: Exclude<LifeAction, { act: "notice" }>,
  usage: ReadonlyMap<string, Usage>,
  { audit, logger, config }: LifeOptions,
): Promise<void> {
  const { account: name, act } = action;
  const stored = await accounts.get(name);
  const seen = config.snapshot().accounts.get(name);
  if (stored === undefined || seen === undefined || stored.account.enabled !== seen.enabled) return;
  const unusedSince = new Date(action.unusedSince).toISOString();
  const entry = { kind: "life" as const, what: act, who: name, details: { unusedSince } };
  // on the record before it is done: a death in between leaves a record of what the next coordinator does again
  await audit.recordDurably({ ...entry, outcome: "started" });
  try {
    if (act === "remove") await accounts.delete(name, stored.revision);
    else {
      await accounts.put({ ...stored.account, enabled: false }, stored.revision);
      const value = JSON.stringify({ ...usage.get(name), disabled: true });
      await coordination.transact({ compare: [], apply: [{ put: keys.life(name), value }] });
    }
  } catch (error) {
    audit.record({ ...entry, outcome: "failed", details: { unusedSince, error: String(error) } });
    if (isCode(error, "superseded")) return;
    throw error;
  }
  audit.record({ ...entry, outcome: "ok" });
  logger.info(act === "remove" ? "an unused account was removed" : "an unused account was disabled", {
    account: name,
    unusedSince,
  });
}

async function forgetNotices(coordination: Coordination, now: number): Promise<void> {
  const { entries } = await coordination.list(keys.noticePrefix, { keysOnly: true });
  const old = entries.filter(({ key }) => {
    const due = Date.parse(key.split("/").at(-2) ?? "");
    return Number.isNaN(due) || due + NOTICE_KEPT_MS < now;
  });
  await inPieces(
    coordination,
    old.map(({ key }) => ({ delete: key })),
  );
}

async function inPieces(coordination: Coordination, operations: readonly Operation[]): Promise<void> {
  const size = Math.min(100, coordination.maxOperations);
  for (let at = 0; at < operations.length; at += size) {
    await coordination.transact({ compare: [], apply: operations.slice(at, at + size) });
  }
}
