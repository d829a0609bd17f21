import { ZodError } from "zod";
import type { Compare, Coordination, Entry } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { type Administrator, administratorSchema } from "./entries.js";
import { faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import type { ChangeNote } from "./history.js";
import { decodeValue, encodeValue, isNewerForm, NEWER_FORM } from "./kinds.js";
import { accountNameSchema } from "./schema.js";
import { type Expectation, expectationOf, writeConfig } from "./write.js";

export interface StoredAdministrator {
  readonly administrator: Administrator;
  readonly revision: number;
}

/**
 * What shall stand in place of an administrator: `undefined` removes him. Called again with what is there now whenever
 * somebody else was faster, so it mustn't do anything but decide. What it throws ends the change.
 */
export type AdministratorChange = (before: StoredAdministrator | undefined) => unknown;

/** Read and written in the store itself, as accounts are. */
export interface Administrators {
  /** Throws `StoreUnavailableError`, or `InvalidConfigError` where the entry isn't valid. */
  get(name: string): Promise<StoredAdministrator | undefined>;
  /** Sorted by name; entries that aren't valid are left out. */
  list(): Promise<readonly StoredAdministrator[]>;
  /**
   * Decides and writes by compare-and-set. Refuses to take away the last enabled administrator of the role `admin`, also
   * where two such changes meet. Returns undefined where he was removed (or wasn't there). Throws `InvalidConfigError`,
   * `StaleRevisionError` (the entry isn't as `expected`), `StoreUnavailableError`, `OutcomeUnknownError` (read again).
   */
  change(
    name: string,
    decide: AdministratorChange,
    expected?: Expectation,
    note?: ChangeNote,
  ): Promise<{ readonly before: StoredAdministrator | undefined; readonly after: StoredAdministrator | undefined }>;
}

/** A writer without expectations tries so often against others before it gives up. */
const TRIES = 64;
/** A site has a handful; this bounds what one listing costs. */
export const MAX_ADMINISTRATORS = 1_000;

export function createAdministrators(options: { readonly coordination: Coordination }): Administrators {
  const { coordination } = options;

  const list = async (): Promise<readonly StoredAdministrator[]> => {
    const { entries } = await coordination.list(keys.administratorPrefix);
    return entries.flatMap((entry) => {
      try {
        return [stored(entry)];
      } catch {
        return [];
      }
    });
  };

  const attempt = async (
    name: string,
    decide: AdministratorChange,
    expected: Expectation | undefined,
    note: ChangeNote | undefined,
  ) => {
    const key = keys.administrator(name);
    const entry = await coordination.get(key);
    const found = entry?.modRevision ?? "absent";
    if (expected !== undefined && expected !== found) {
      throw new StaleRevisionError(`administrator ${name}`, entry?.modRevision ?? 0);
    }
    const before = entry === undefined ? undefined : stored(entry);
    const wanted = decide(before);
    const after = wanted === undefined ? undefined : validateAdministrator(wanted);
    if (before === undefined && after === undefined) return { before, after: undefined };
    if (entry !== undefined && isNewerForm("administrator", entry.value)) {
      throw new InvalidConfigError("the administrator isn't valid", [NEWER_FORM]);
    }
    const compare: Compare[] = [expectationOf(key, found)];
    const all = await list();
    if (before === undefined && all.length >= MAX_ADMINISTRATORS) {
      throw new LongshoreError("invalid-argument", `a site has at most ${MAX_ADMINISTRATORS} administrators`);
    }
    const witness = remainingAdmin(all, before?.administrator, after);
    // Whoever takes that one away at the same moment loses, or makes us lose.
    if (witness !== undefined)
      compare.push(expectationOf(keys.administrator(witness.administrator.name), witness.revision));
    const value = after === undefined ? "" : encodeValue("administrator", after);
    const operation = after === undefined ? { delete: key } : { put: key, value };
    try {
      const result = await writeConfig(coordination, compare, [operation], {
        ...note,
        before: new Map(entry === undefined ? [] : [[key, entry]]),
      });
      if (!result.applied) {
        const now = result.found[0]?.[0]?.modRevision ?? 0;
        throw new StaleRevisionError(`administrator ${name}`, now);
      }
      return { before, after: after && { administrator: after, revision: result.revision } };
    } catch (error) {
      if (!(error instanceof OutcomeUnknownError)) throw error;
      // The head was moved on by another write: if the entry is as we wanted it, nobody can tell the difference.
      const now = await coordination.get(key);
      const done = after === undefined ? now === undefined : now?.value === value && now.modRevision !== found;
      if (!done) throw error;
      return { before, after: after && { administrator: after, revision: now?.modRevision ?? 0 } };
    }
  };

  return {
    async get(name) {
      if (!accountNameSchema.safeParse(name).success) return undefined;
      const entry = await coordination.get(keys.administrator(name));
      return entry === undefined ? undefined : stored(entry);
    },
    list,
    async change(name, decide, expected, note) {
      if (!accountNameSchema.safeParse(name).success) {
        throw new InvalidConfigError("the administrator isn't valid", [
          { path: "name", message: "1 to 64 letters, digits, or _ . @ - (not first)" },
        ]);
      }
      for (let tried = 1; ; tried++) {
        try {
          return await attempt(name, decide, expected, note);
        } catch (error) {
          if (!(error instanceof StaleRevisionError) || tried >= TRIES) throw error;
          // With an expectation it is worth another try only where not this entry but the witness was changed.
          if (expected !== undefined && error.current !== (expected === "absent" ? 0 : expected)) throw error;
        }
      }
    },
  };
}

/** With its defaults filled in. Throws `InvalidConfigError` with the path of each fault. */
export function validateAdministrator(input: unknown): Administrator {
  const parsed = administratorSchema.safeParse(input);
  if (!parsed.success) throw new InvalidConfigError("the administrator isn't valid", faultsOf(parsed.error));
  return parsed.data;
}

/**
 * The administrator on whom a change leans: an enabled one of the role `admin` besides the changed one. Undefined where the
 * change takes no such rights away. Throws `InvalidConfigError` where nobody would be left.
 */
export function remainingAdmin(
  all: readonly StoredAdministrator[],
  before: Administrator | undefined,
  after: Administrator | undefined,
): StoredAdministrator | undefined {
  if (before === undefined || !rules(before) || (after !== undefined && rules(after))) return undefined;
  const other = all.find(({ administrator }) => administrator.name !== before.name && rules(administrator));
  if (other !== undefined) return other;
  throw new InvalidConfigError("the change is refused", [
    {
      path: after === undefined ? "" : "role",
      message: `"${before.name}" is the last enabled administrator of the role admin`,
    },
  ]);
}

function rules({ role, enabled }: Administrator): boolean {
  return role === "admin" && enabled;
}

function stored(entry: Entry): StoredAdministrator {
  const name = entry.key.slice(keys.administratorPrefix.length);
  let administrator: Administrator | undefined;
  try {
    administrator = decodeValue("administrator", name, entry.value);
  } catch (error) {
    const faults = error instanceof ZodError ? faultsOf(error) : [{ path: "", message: String(error) }];
    throw new InvalidConfigError(`the administrator ${name} isn't valid in the store`, faults);
  }
  if (administrator === undefined) throw new LongshoreError("io", `the administrator ${name} can't be read`);
  return { administrator, revision: entry.modRevision };
}
