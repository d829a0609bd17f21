import { ZodError } from "zod";
import type { Coordination, Entry } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { accountFaults, valueFaults } from "./check.js";
import { faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import type { ChangeNote } from "./history.js";
import { decodeValue, encodeValue, isNewerForm, NEWER_FORM } from "./kinds.js";
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
  /**
   * Creates or replaces, by compare-and-set, together with the groups that it names. Without `expected` the last writer
   * wins, still atomically. Throws `InvalidConfigError`, `StaleRevisionError`, `StoreUnavailableError`,
   * `OutcomeUnknownError` (read again to see).
   */
  put(account: unknown, expected?: Expectation, note?: ChangeNote): Promise<StoredAccount>;
  /** False where there was none. Throws as `put`. */
  delete(name: string, expected?: number, note?: ChangeNote): Promise<boolean>;
}

/** A writer without expectations tries so often against others before it gives up. */
const TRIES = 64;

export function createAccounts(options: { readonly coordination: Coordination }): Accounts {
  const { coordination } = options;

  const read = async (name: string): Promise<Entry | undefined> =>
    // A name that can't be one has no entry; asking the store with it might ask for something else.
    accountNameSchema.safeParse(name).success ? await coordination.get(keys.account(name)) : undefined;

  const groupsOf = (account: Account) =>
    Promise.all(
      account.groups.map(async (name) => {
        const entry = await coordination.get(keys.group(name));
        const group = entry && decodeValue("group", name, entry.value);
        return entry && group && { key: entry.key, revision: entry.modRevision, group };
      }),
    );

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

    async put(input, expected, note) {
      const account = validateAccount(input);
      const key = keys.account(account.name);
      const value = encodeValue("account", account);
      return await settled(expected, async (demand) => {
        const [entry, groups] = await Promise.all([coordination.get(key), groupsOf(account)]);
        const current = demand ?? entry?.modRevision ?? "absent";
        const faults = [
          ...accountFaults(
            account,
            groups.map((each) => each?.group),
          ),
          ...(entry !== undefined && isNewerForm("account", entry.value) ? [NEWER_FORM] : []),
        ];
        // A stale writer hears that first: what he wrote may be valid against what is there now, or not.
        if (faults.length > 0 && (demand === undefined || demand === (entry?.modRevision ?? "absent"))) {
          throw new InvalidConfigError("the account isn't valid", faults);
        }
        const compare = [
          expectationOf(key, current),
          // What was checked must still hold when it is written: no group may vanish in between.
          ...groups.flatMap((each) => (each === undefined ? [] : [expectationOf(each.key, each.revision)])),
        ];
        const before = new Map(entry === undefined ? [] : [[key, entry]]);
        try {
          const result = await writeConfig(coordination, compare, [{ put: key, value }], { ...note, before });
          if (result.applied) return { account, revision: result.revision };
          const now = result.found[0]?.[0]?.modRevision;
          if (demand !== undefined && demand === (now ?? "absent"))
            throw new RetryError(`account ${account.name}`, now ?? 0);
          throw new StaleRevisionError(`account ${account.name}`, now ?? 0);
        } catch (error) {
          if (!(error instanceof OutcomeUnknownError)) throw error;
          // The head was moved on by another write: if the entry is what we wanted, nobody can tell the difference.
          const now = await coordination.get(key);
          if (now?.value === value && now.modRevision !== current) return { account, revision: now.modRevision };
          throw error;
        }
      });
    },

    async delete(name, expected, note) {
      if (!accountNameSchema.safeParse(name).success) return false;
      const key = keys.account(name);
      return await settled(expected, async (demand) => {
        const current = await coordination.get(key);
        if (current === undefined) return false;
        if (demand !== undefined && demand !== current.modRevision) {
          throw new StaleRevisionError(`account ${name}`, current.modRevision);
        }
        const compare = [expectationOf(key, current.modRevision)];
        const before = new Map([[key, current]]);
        const result = await writeConfig(coordination, compare, [{ delete: key }], { ...note, before });
        if (!result.applied) throw new StaleRevisionError(`account ${name}`, foundRevision(result.found));
        return true;
      });
    },
  };
}

/** The caller's demand held, but a group changed while we looked: look again. */
class RetryError extends StaleRevisionError {}

/** With its defaults filled in. Throws `InvalidConfigError` with the path of each fault. */
export function validateAccount(input: unknown): Account {
  const parsed = accountSchema.safeParse(input);
  if (!parsed.success) throw new InvalidConfigError("the account isn't valid", faultsOf(parsed.error));
  const faults = valueFaults("account", parsed.data);
  if (faults.length > 0) throw new InvalidConfigError("the account isn't valid", faults);
  return parsed.data;
}

/** Runs a write, again where the caller had no expectation of its own and somebody else was faster. */
async function settled<E, T>(expected: E | undefined, write: (demand: E | undefined) => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await write(expected);
    } catch (error) {
      const again = error instanceof StaleRevisionError && (expected === undefined || error instanceof RetryError);
      if (!again || tried >= TRIES) throw error;
    }
  }
}

function stored(entry: Entry): StoredAccount {
  const name = entry.key.slice(keys.accountPrefix.length);
  try {
    const account = decodeValue("account", name, entry.value);
    if (account !== undefined) return { account, revision: entry.modRevision };
  } catch (error) {
    if (!(error instanceof ZodError)) {
      throw new LongshoreError("io", `the account ${name} can't be read from the store`, error);
    }
    throw new InvalidConfigError(`the account ${name} isn't valid in the store`, faultsOf(error));
  }
  throw new LongshoreError("io", `the account ${name} can't be read from the store`);
}

export function foundRevision(found: readonly (readonly Entry[])[]): number {
  return found[0]?.[0]?.modRevision ?? 0;
}
