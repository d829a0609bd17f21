import type { Coordination, Entry } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import { publicKeyFault } from "./public-key.js";
import { type Account, accountNameSchema, accountSchema } from "./schema.js";
import { type Expectation, expectationOf, writeConfig } from "./write.js";

export interface StoredAccount {
  readonly account: Account;
  /** What a later write may demand to be still true. */
  readonly revision: number;
}

/** Read and written in the store itself, never through a node's view: an administrator sees what he just wrote. */
export interface Accounts {
  /** Throws `StoreUnavailableError`. An entry that isn't valid throws `InvalidConfigError`. */
  get(name: string): Promise<StoredAccount | undefined>;
  /** Sorted by name. Entries that aren't valid are left out; the config view reports them. */
  list(): Promise<readonly StoredAccount[]>;
  /** At most `limit` of the list, past the name `after`; `next` is to be the next page's `after`, if there is more. */
  page(limit: number, after?: string): Promise<{ readonly items: readonly StoredAccount[]; readonly next?: string }>;
  /**
   * Creates or replaces, by compare-and-set. Without `expected` the last writer wins, still atomically. Throws
   * `InvalidConfigError`, `StaleRevisionError`, `StoreUnavailableError`, `OutcomeUnknownError` (read again to see).
   */
  put(account: unknown, expected?: Expectation): Promise<StoredAccount>;
  /** False where there was none. Throws as `put`. */
  delete(name: string, expected?: number): Promise<boolean>;
}

/** A writer without expectations tries so often against others before it gives up. */
const TRIES = 64;

export function createAccounts(options: { readonly coordination: Coordination }): Accounts {
  const { coordination } = options;

  const read = async (name: string): Promise<Entry | undefined> =>
    // A name that can't be one has no entry; asking the store with it might ask for something else.
    accountNameSchema.safeParse(name).success ? await coordination.get(keys.account(name)) : undefined;

  return {
    async get(name) {
      const entry = await read(name);
      return entry === undefined ? undefined : stored(entry);
    },

    async list() {
      const { entries } = await coordination.list(keys.accountPrefix);
      return entries.flatMap((entry) => {
        try {
          return [stored(entry)];
        } catch {
          return [];
        }
      });
    },

    async page(limit, after) {
      // One more than asked for tells whether there is a next page.
      const options = { limit: limit + 1, ...(after === undefined ? {} : { after: keys.account(after) }) };
      const { entries } = await coordination.list(keys.accountPrefix, options);
      const shown = entries.slice(0, limit);
      const items = shown.flatMap((entry) => {
        try {
          return [stored(entry)];
        } catch {
          return [];
        }
      });
      const last = shown.at(-1);
      if (entries.length <= limit || last === undefined) return { items };
      return { items, next: last.key.slice(keys.accountPrefix.length) };
    },

    async put(input, expected) {
      const account = validateAccount(input);
      const key = keys.account(account.name);
      const value = JSON.stringify(account);
      return await settled(expected, async (demand) => {
        const current = demand ?? (await coordination.get(key))?.modRevision ?? "absent";
        try {
          const result = await writeConfig(coordination, [expectationOf(key, current)], [{ put: key, value }]);
          if (!result.applied) throw new StaleRevisionError(`account ${account.name}`, foundRevision(result.found));
          return { account, revision: result.revision };
        } catch (error) {
          if (!(error instanceof OutcomeUnknownError)) throw error;
          // The head was moved on by another write: if the entry is what we wanted, nobody can tell the difference.
          const now = await coordination.get(key);
          if (now?.value === value && now.modRevision !== current) return { account, revision: now.modRevision };
          throw error;
        }
      });
    },

    async delete(name, expected) {
      if (!accountNameSchema.safeParse(name).success) return false;
      const key = keys.account(name);
      return await settled(expected, async (demand) => {
        const current = await coordination.get(key);
        if (current === undefined) return false;
        if (demand !== undefined && demand !== current.modRevision) {
          throw new StaleRevisionError(`account ${name}`, current.modRevision);
        }
        const compare = [expectationOf(key, current.modRevision)];
        const result = await writeConfig(coordination, compare, [{ delete: key }]);
        if (!result.applied) throw new StaleRevisionError(`account ${name}`, foundRevision(result.found));
        return true;
      });
    },
  };
}

/** With its defaults filled in. Throws `InvalidConfigError` with the path of each fault. */
export function validateAccount(input: unknown): Account {
  const parsed = accountSchema.safeParse(input);
  if (!parsed.success) throw new InvalidConfigError("the account isn't valid", faultsOf(parsed.error));
  const faults = parsed.data.publicKeys.flatMap((line, at) => {
    const message = publicKeyFault(line);
    return message === undefined ? [] : [{ path: `publicKeys.${at}`, message }];
  });
  if (faults.length > 0) throw new InvalidConfigError("the account isn't valid", faults);
  return parsed.data;
}

/** Runs a write, again where the caller had no expectation of its own and somebody else was faster. */
async function settled<E, T>(expected: E | undefined, write: (demand: E | undefined) => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await write(expected);
    } catch (error) {
      if (!(error instanceof StaleRevisionError) || expected !== undefined || tried >= TRIES) throw error;
    }
  }
}

function stored(entry: Entry): StoredAccount {
  const name = entry.key.slice(keys.accountPrefix.length);
  let value: unknown;
  try {
    value = JSON.parse(entry.value);
  } catch (error) {
    throw new LongshoreError("io", `the account ${name} isn't JSON in the store`, error);
  }
  const parsed = accountSchema.safeParse(value);
  if (!parsed.success)
    throw new InvalidConfigError(`the account ${name} isn't valid in the store`, faultsOf(parsed.error));
  return { account: parsed.data, revision: entry.modRevision };
}

export function foundRevision(found: readonly (readonly Entry[])[]): number {
  return found[0]?.[0]?.modRevision ?? 0;
}
