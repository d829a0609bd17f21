import { z } from "zod";
import type { Coordination, Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import type { Usage } from "./plan.js";

/** Who logged in last when: gathered on each node, merged by the coordinator. */

/** Account to milliseconds since 1970. */
const activitySchema = z.record(z.string(), z.number());
const usageSchema = z.object({
  since: z.number(),
  lastLogin: z.number().optional(),
  disabled: z.literal(true).optional(),
});

export interface ActivityLog {
  loggedIn(account: string): void;
  start(): void;
  /** Writes what is left. Idempotent, never rejects. */
  stop(): Promise<void>;
}

/** A node that dies loses so much of it: nothing here is counted in less than hours. */
const FLUSH_MS = 60_000;
/** Of one node's key: some 300 KiB. The newest stay. */
const MOST_ACCOUNTS = 5_000;
const TRIES = 5;

export interface ActivityOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  readonly logger: Logger;
  /** Default a minute. */
  readonly flushMs?: number;
}

/** Keeps the node's last logins in one bounded key: many logins cost one small write a minute. */
export function createActivityLog(options: ActivityOptions): ActivityLog {
  const { coordination, logger } = options;
  const key = keys.activity(options.nodeId);
  let pending = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  let flushing: Promise<void> | undefined;

  const flush = async () => {
    const mine = pending;
    if (mine.size === 0) return;
    pending = new Map();
    try {
      if (await write(mine)) return;
    } catch (error) {
      logger.debug("last logins are written later", { error: String(error) });
    }
    // what came meanwhile is newer
    pending = bounded([...mine, ...pending]);
  };
  const write = async (mine: ReadonlyMap<string, number>): Promise<boolean> => {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const entry = await coordination.get(key);
      const merged = bounded([...activityIn(entry), ...mine]);
      const { applied } = await coordination.transact({
        compare: [
          entry === undefined ? { key, is: "absent" } : { key, is: "modified-at", revision: entry.modRevision },
        ],
        apply: [{ put: key, value: JSON.stringify(Object.fromEntries(merged)) }],
      });
      if (applied) return true;
    }
    return false;
  };
  const tick = () => {
    flushing ??= flush().finally(() => {
      flushing = undefined;
    });
    return flushing;
  };

  return {
    loggedIn(account) {
      pending.set(account, Date.now());
      if (pending.size >= MOST_ACCOUNTS) void tick();
    },
    start() {
      timer ??= setInterval(() => void tick(), options.flushMs ?? FLUSH_MS).unref();
    },
    async stop() {
      clearInterval(timer);
      await flushing;
      await tick();
    },
  };
}

/** What all nodes told, newest login each, and the entries that it was read from. */
export async function readActivity(coordination: Coordination) {
  const { entries } = await coordination.list(keys.activityPrefix);
  const logins = new Map<string, number>();
  for (const entry of entries) {
    for (const [account, at] of activityIn(entry)) logins.set(account, Math.max(at, logins.get(account) ?? 0));
  }
  return { logins, entries };
}

export async function readUsage(coordination: Coordination): Promise<Map<string, Usage>> {
  const { entries } = await coordination.list(keys.lifePrefix);
  const usage = new Map<string, Usage>();
  for (const { key, value } of entries) {
    const parsed = usageSchema.safeParse(jsonOf(value));
    if (parsed.success) usage.set(key.slice(keys.lifePrefix.length), parsed.data);
  }
  return usage;
}

/** A login moves the record only by so much, so that a busy account costs a write a day, not one a minute. */
const WORTH_MS = 3_600_000;

/**
 * What to write so that `usage` says what is known now; entries of accounts that are gone go, too. `accounts`: whether each
 * is enabled. Pure.
 */
export function mergeUsage(
  usage: ReadonlyMap<string, Usage>,
  logins: ReadonlyMap<string, number>,
  accounts: ReadonlyMap<string, boolean>,
  now: number,
): { readonly usage: Map<string, Usage>; readonly operations: readonly Operation[] } {
  const merged = new Map<string, Usage>();
  const operations: Operation[] = [];
  for (const [account, enabled] of accounts) {
    const before = usage.get(account);
    // a node's clock may be ahead: nobody was here tomorrow
    const login = Math.min(logins.get(account) ?? 0, now);
    const lastLogin = Math.max(login, before?.lastLogin ?? 0);
    const enabledAgain = enabled && before?.disabled === true;
    const after: Usage = {
      since: enabledAgain ? now : (before?.since ?? now),
      ...(lastLogin > 0 && { lastLogin }),
      ...(!enabled && { disabled: true }),
    };
    merged.set(account, after);
    const same = before !== undefined && before.disabled === after.disabled;
    if (same && (after.lastLogin ?? 0) - (before.lastLogin ?? 0) < WORTH_MS) continue;
    operations.push({ put: keys.life(account), value: JSON.stringify(after) });
  }
  for (const account of usage.keys()) if (!accounts.has(account)) operations.push({ delete: keys.life(account) });
  return { usage: merged, operations };
}

function activityIn(entry: Entry | undefined): [string, number][] {
  const parsed = activitySchema.safeParse(entry === undefined ? {} : jsonOf(entry.value));
  return parsed.success ? Object.entries(parsed.data) : [];
}

function bounded(logins: readonly (readonly [string, number])[]): Map<string, number> {
  const newest = new Map<string, number>();
  for (const [account, at] of logins) newest.set(account, Math.max(at, newest.get(account) ?? 0));
  if (newest.size <= MOST_ACCOUNTS) return newest;
  return new Map([...newest].sort((a, b) => b[1] - a[1]).slice(0, MOST_ACCOUNTS));
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
