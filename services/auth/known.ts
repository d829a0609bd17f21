import { createHash } from "node:crypto";
import { z } from "zod";
import type { Compare, Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { Semaphore } from "#lib/semaphore.js";
import { sourceOf } from "./security.js";

/** From where an account has logged in before: a lockout doesn't count there. Kept in the store, hashed, bounded. */
export interface KnownAddresses {
  /** Asks the store at most each two seconds for an account. False where that doesn't answer. Never rejects. */
  isKnown(account: string, address: string): Promise<boolean>;
  /** Without the store: whether this node knows by itself. */
  isKnownHere(account: string, address: string): boolean;
  /** After a login. Goes to the store in the background, once per account and address. */
  remember(account: string, address: string): void;
}

/** Addresses of an account; the one that came first goes first. */
const MOST_ADDRESSES = 32;
const MOST_ACCOUNTS = 10_000;
const FRESH_MS = 2_000;
const DEADLINE_MS = 1_000;
const TRIES = 3;
const recordSchema = z.object({ addresses: z.array(z.string().max(64)).max(MOST_ADDRESSES) });

interface Known {
  addresses: readonly string[];
  readAt: number;
}

export function createKnownAddresses(options: {
  readonly coordination: Coordination;
  readonly logger: Logger;
}): KnownAddresses {
  const { coordination, logger } = options;
  const cache = new Map<string, Known>();
  const reads = new Map<string, Promise<Known>>();
  /** However many log in, or try to, so much is asked of the store. */
  const readers = new Semaphore(4, 64);
  const writers = new Semaphore(2, 256);

  const put = (account: string, known: Known) => {
    cache.delete(account);
    cache.set(account, known);
    const eldest = cache.keys().next();
    if (cache.size > MOST_ACCOUNTS && !eldest.done) cache.delete(eldest.value);
  };

  const fetch = async (account: string): Promise<{ addresses: readonly string[]; compare: Compare }> => {
    const key = keys.known(account);
    const entry = await coordination.get(key, { deadlineMs: DEADLINE_MS });
    if (entry === undefined) return { addresses: [], compare: { key, is: "absent" } };
    const parsed = recordSchema.safeParse(parse(entry.value));
    const addresses = parsed.success ? parsed.data.addresses : [];
    return { addresses, compare: { key, is: "modified-at", revision: entry.modRevision } };
  };

  const read = (account: string): Promise<Known> => {
    const under = reads.get(account);
    if (under !== undefined) return under;
    const reading = readers
      .run(async () => {
        const { addresses } = await fetch(account);
        const known = { addresses, readAt: monotonicMs() };
        put(account, known);
        return known;
      })
      .finally(() => reads.delete(account));
    reads.set(account, reading);
    return reading;
  };

  const write = async (account: string, hash: string) => {
    for (let tried = 0; tried < TRIES; tried++) {
      const { addresses, compare } = await fetch(account);
      const next = addresses.includes(hash) ? addresses : [...addresses, hash].slice(-MOST_ADDRESSES);
      if (next !== addresses) {
        const apply = [{ put: keys.known(account), value: JSON.stringify({ addresses: next }) }];
        if (!(await coordination.transact({ compare: [compare], apply })).applied) continue;
      }
      put(account, { addresses: next, readAt: monotonicMs() });
      return;
    }
  };

  const isKnownHere = (account: string, address: string) =>
    cache.get(account)?.addresses.includes(hashOf(account, address)) === true;

  return {
    isKnownHere,
    async isKnown(account, address) {
      if (isKnownHere(account, address)) return true;
      const cached = cache.get(account);
      if (cached !== undefined && monotonicMs() - cached.readAt < FRESH_MS) return false;
      try {
        return (await read(account)).addresses.includes(hashOf(account, address));
      } catch {
        return false;
      }
    },
    remember(account, address) {
      if (isKnownHere(account, address)) return;
      const hash = hashOf(account, address);
      // Counts here at once, whatever the store says.
      put(account, { addresses: [...(cache.get(account)?.addresses ?? []), hash].slice(-MOST_ADDRESSES), readAt: 0 });
      writers
        .run(() => write(account, hash))
        .catch((error: unknown) => logger.debug("a known address wasn't kept", { account, error }));
    },
  };
}

/** Salted with the account, so that the store doesn't show which accounts share an address. */
function hashOf(account: string, address: string): string {
  return createHash("sha256")
    .update(`${account}\0${sourceOf(address)}`)
    .digest("base64url")
    .slice(0, 16);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
