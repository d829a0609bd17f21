import { parseUsage, quotaExceeded, type Usage } from "#commit/usage.js";
import type { EffectiveAccount } from "#config/effective.js";
import { type Follower, follow } from "#config/follow.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs } from "#lib/clock.js";
import type { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { type Limit, limitsOf } from "./limits.js";

/** What is known here of the places with a quota. A view: the commit judges by the store itself. */
export interface Usages {
  start(): void;
  /** Idempotent. */
  stop(): void;
  of(target: string): Usage | undefined;
  /** All that are known, by place. */
  all(): ReadonlyMap<string, Usage>;
  /**
   * How large a file may grow that would replace `replaced` bytes at a physical path, and what to say past that; undefined
   * where no quota binds the account there.
   */
  room(account: EffectiveAccount, path: string, replaced: number): Room | undefined;
  /** The same by the store itself, not by what was heard last; where that doesn't answer, by what is known. */
  roomNow(account: EffectiveAccount, path: string, replaced: number): Promise<Room | undefined>;
  /** Asks for a place to be counted anew, at most now and then: it may have been emptied past the site. Never throws. */
  askRecount(target: string): void;
}

export interface Room {
  readonly bytes: number;
  readonly limit: Limit;
  /** Of all files in the place; 0 while it isn't counted. */
  readonly used: number;
  readonly error: () => LongshoreError;
}

/** Each commit into such a folder changes a key: what is shown may be that old. */
const DEBOUNCE_MS = 100;
const ASK_MS = 10_000;
const ANSWER_MS = 1_000;

export function createUsages(options: { readonly coordination: Coordination; readonly logger: Logger }): Usages {
  const { coordination, logger } = options;
  const prefix = keys.usagePrefix("main");
  let known: ReadonlyMap<string, Usage> = new Map();
  let follower: Follower | undefined;
  /** When a recount was asked for last, and how many there had been as was known then. */
  const asked = new Map<string, { readonly at: number; readonly counts: number }>();

  const ask = async (target: string) => {
    const key = keys.usage("main", target);
    for (let tries = 0; tries < 5; tries += 1) {
      const entry = await coordination.get(key);
      if (entry === undefined) return;
      const usage = parseUsage(entry);
      if (usage.due) return;
      const compare = [{ key, is: "modified-at" as const, revision: entry.modRevision }];
      const value = JSON.stringify({ ...usage, due: true });
      if ((await coordination.transact({ compare, apply: [{ put: key, value }] })).applied) return;
    }
  };

  const room = (account: EffectiveAccount, path: string, replaced: number): Room | undefined => {
    let least: Room | undefined;
    for (const limit of limitsOf(account, path)) {
      const used = known.get(limit.target)?.bytes ?? 0;
      const bytes = Math.max(0, limit.bytes - used + replaced);
      if (least !== undefined && least.bytes <= bytes) continue;
      least = { bytes, limit, used, error: () => quotaExceeded(limit, used) };
    }
    return least;
  };

  const refresh = async (target: string) => {
    try {
      const entry = await coordination.get(keys.usage("main", target), { deadlineMs: ANSWER_MS });
      if (entry !== undefined) known = new Map(known).set(target, parseUsage(entry));
    } catch (error) {
      logger.debug("a folder's usage is judged by what was heard last", { target, error: String(error) });
    }
  };

  return {
    start() {
      follower ??= follow({
        coordination,
        prefix,
        debounceMs: DEBOUNCE_MS,
        onListing({ entries }) {
          const next = new Map<string, Usage>();
          for (const entry of entries) {
            try {
              next.set(entry.key.slice(prefix.length), parseUsage(entry));
            } catch (error) {
              logger.warn("a folder's usage in the store can't be read", { key: entry.key, error: String(error) });
            }
          }
          known = next;
        },
      });
    },
    stop() {
      follower?.close();
    },
    of: (target) => known.get(target),
    all: () => known,
    room,
    async roomNow(account, path, replaced) {
      for (const { target } of limitsOf(account, path)) await refresh(target);
      return room(account, path, replaced);
    },
    askRecount(target) {
      const now = monotonicMs();
      const counts = known.get(target)?.counts ?? 0;
      const before = asked.get(target);
      // A count that came since answered what was asked before it, not what went past the site after it.
      if (before !== undefined && before.at > now - ASK_MS && before.counts === counts) return;
      if (asked.size > 10_000) asked.clear();
      asked.set(target, { at: now, counts });
      ask(target).catch((error: unknown) => logger.debug("a recount can't be asked for", { error: String(error) }));
    },
  };
}
