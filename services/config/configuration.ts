import type { Coordination, Entry, Operation } from "#coordination/contract.js";
import { OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { pause } from "#lib/clock.js";
import { isCode, LongshoreError } from "#lib/errors.js";
import { type ConfigModel, checkSite, newFaults, valueFaults } from "./check.js";
import { type Fault, InvalidConfigError, StaleRevisionError } from "./errors.js";
import type { ChangeNote } from "./history.js";
import { type ByKind, decodeValue, encodeValue, isNewerForm, KIND_RULES, keyOf, kindOf, NEWER_FORM } from "./kinds.js";
import type { Kind } from "./migrations.js";
import { CONFIG_HEAD, noEntries } from "./snapshot.js";
import { expectationOf, writeConfig } from "./write.js";

/** The whole configuration as it is in the store now. */
export interface CurrentConfig {
  readonly model: ConfigModel;
  /** By store key, also those that aren't valid or of the model. */
  readonly entries: ReadonlyMap<string, Entry>;
  /** Of the newest change; what a writer may demand to be still true. */
  readonly revision: number;
}

/** One entry's new value; undefined: it is deleted. */
export type EntryChange = { readonly [K in Kind]: { kind: K; name: string; value: ByKind[K] | undefined } }[Kind];

export interface ChangeOptions extends ChangeNote {
  /** The configuration's revision that the change was made for; absent: the newest, whatever it is. */
  readonly expected?: number;
  /** Faults that were there before count, too. Default false. */
  readonly strict?: boolean;
}

/** Changes that are to be checked against the whole: everything but an account by itself (accounts.ts). */
export interface Configuration {
  /** Throws `StoreUnavailableError`. */
  read(): Promise<CurrentConfig>;
  /**
   * Plans from the newest configuration, checks the outcome as a whole, and writes it if nothing changed meanwhile; else
   * plans anew. All of it or nothing. Resolves with the revision that it is in force at. Throws what `plan` throws,
   * `InvalidConfigError` (also for more than one transaction holds), `StaleRevisionError`, and the store's.
   */
  change(
    plan: (current: CurrentConfig) => readonly EntryChange[],
    options?: ChangeOptions,
  ): Promise<{ revision: number }>;
}

/** Every change of the site moves the head: so often a writer looks again before it gives up. */
const TRIES = 64;
const RETRY_MS = 25;
/** Of the head and the record of the change. */
const OWN_OPERATIONS = 2;

export function createConfiguration({ coordination }: { readonly coordination: Coordination }): Configuration {
  const read = async (): Promise<CurrentConfig> => {
    const { entries } = await coordination.list(keys.configPrefix, { deadlineMs: 10_000 });
    return currentOf(entries);
  };
  return {
    read,
    async change(plan, options = {}) {
      for (let tried = 1; ; tried++) {
        const current = await read();
        if (options.expected !== undefined && options.expected !== current.revision) {
          throw new StaleRevisionError("the configuration", current.revision);
        }
        const changes = plan(current);
        if (changes.length === 0) return { revision: current.revision };
        assertSound(current, changes, options.strict ?? false);
        const apply = changes.map(operationOf);
        if (apply.length + OWN_OPERATIONS > coordination.maxOperations) {
          throw tooMuch(
            `${apply.length} entries change, and at most ${coordination.maxOperations - OWN_OPERATIONS} can`,
          );
        }
        const head = current.entries.get(CONFIG_HEAD);
        try {
          const compare = [expectationOf(CONFIG_HEAD, head?.modRevision ?? "absent")];
          const { by, summary } = options;
          const note = { ...(by === undefined ? {} : { by }), ...(summary === undefined ? {} : { summary }) };
          const result = await writeConfig(coordination, compare, apply, { ...note, before: current.entries });
          if (result.applied) return { revision: result.revision };
        } catch (error) {
          if (isCode(error, "limit")) throw tooMuch("the change has too many bytes to be made");
          // Its compare names the head's revision: if that is still there, it wasn't applied and can't be any more once
          // we write again. If it moved, only reading tells, and the plan does that.
          if (!(error instanceof OutcomeUnknownError)) throw error;
          const now = await read();
          const after = plan(now);
          if (after.length === 0) return { revision: now.revision };
          throw error;
        }
        if (tried >= TRIES) {
          throw new LongshoreError("busy", "others keep changing the configuration: try again");
        }
        await pause(Math.random() * RETRY_MS * Math.min(tried, 8));
      }
    },
  };
}

/** What the entries say; those that can't be read are as if they weren't there. Pure. */
export function currentOf(entries: readonly Entry[]): CurrentConfig {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  const found = noEntries();
  let site: ByKind["site"] | undefined;
  let revision = 0;
  for (const entry of entries) {
    revision = Math.max(revision, entry.modRevision);
    const of = kindOf(entry.key);
    if (of === undefined) continue;
    try {
      const value = decodeValue(of.kind, of.name, entry.value);
      if (value === undefined) continue;
      if (of.kind === "site") site = value as ByKind["site"];
      else (sectionOf(found, of.kind) as Map<string, unknown>).set(of.name, value);
    } catch {
      // The config view reports it.
    }
  }
  if (site === undefined) throw new LongshoreError("not-found", "the site has no settings yet");
  return { model: { site, ...found }, entries: byKey, revision };
}

type Sections = ReturnType<typeof noEntries>;

export function sectionOf<S extends { readonly [K in keyof Sections]: ReadonlyMap<string, unknown> }>(
  model: S,
  kind: Exclude<Kind, "site">,
): S[keyof Sections] {
  return model[KIND_RULES[kind].section as keyof Sections];
}

/** The model after the changes. Pure. */
export function withChanges(model: ConfigModel, changes: readonly EntryChange[]): ConfigModel {
  const next = {
    accounts: new Map(model.accounts),
    groups: new Map(model.groups),
    profiles: new Map(model.profiles),
    keys: new Map(model.keys),
    certificates: new Map(model.certificates),
    administrators: new Map(model.administrators),
  };
  let { site } = model;
  for (const { kind, name, value } of changes) {
    if (kind === "site") site = value ?? site;
    else if (value === undefined) sectionOf(next, kind).delete(name);
    else (sectionOf(next, kind) as Map<string, unknown>).set(name, value);
  }
  return { site, ...next };
}

/** All that is wrong with a change. Pure. */
export function changeFaults(current: CurrentConfig, changes: readonly EntryChange[], strict: boolean): Fault[] {
  const own = changes.flatMap((change): Fault[] => {
    const { kind, name, value } = change;
    const at = kind === "site" ? "site" : `${KIND_RULES[kind].section}/${name}`;
    const entry = current.entries.get(keyOf(kind, name));
    const faults = value === undefined ? [] : valueFaults(kind, value);
    if (kind === "site" && value !== undefined && value.id !== current.model.site.id) {
      faults.push({ path: "id", message: "can't be changed" });
    }
    if (entry !== undefined && isNewerForm(kind, entry.value)) faults.push(NEWER_FORM);
    return faults.map(({ path, message }) => ({ path: `${at}.${path}`, message }));
  });
  const after = checkSite(withChanges(current.model, changes), current.model);
  return [...own, ...(strict ? after : newFaults(after, checkSite(current.model)))];
}

function assertSound(current: CurrentConfig, changes: readonly EntryChange[], strict: boolean): void {
  const faults = changeFaults(current, changes, strict);
  if (faults.length > 0) throw new InvalidConfigError("the configuration wouldn't be valid", faults);
}

/** Large changes aren't staged: a transaction is the only thing that no reader ever sees half of. */
function tooMuch(what: string): InvalidConfigError {
  const way = "apply it in parts: config apply --merge, with some of the entries at a time";
  return new InvalidConfigError("too much for one step", [{ path: "", message: `${what} at once; ${way}` }]);
}

function operationOf(change: EntryChange): Operation {
  const key = keyOf(change.kind, change.name);
  if (change.value === undefined) return { delete: key };
  return { put: key, value: encodeValue(change.kind, change.value as ByKind[Kind]) };
}
