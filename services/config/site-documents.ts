import { ZodError } from "zod";
import type { Coordination } from "#coordination/contract.js";
import { LongshoreError } from "#lib/errors.js";
import type { KeyRing } from "#lib/seal.js";
import {
  type Configuration,
  type CurrentConfig,
  changeFaults,
  createConfiguration,
  type EntryChange,
} from "./configuration.js";
import {
  currentValue,
  type DescribedChange,
  describeChanges,
  documentSchema,
  entryFrom,
  planDocument,
  type SiteDocument,
  toDocument,
  unlessSame,
} from "./document.js";
import { type Fault, faultsOf, InvalidConfigError, StaleRevisionError } from "./errors.js";
import { type ChangeNote, type PastChange, pastChanges, valuesAt } from "./history.js";
import { type ByKind, decodeValue, KIND_RULES, keyOf, kindOf } from "./kinds.js";
import type { Kind } from "./migrations.js";
import { type Rotated, rotateClusterKey } from "./rotation.js";
import type { Expectation } from "./write.js";

export interface PlannedChange {
  /** Of the configuration that it was planned from. */
  readonly revision: number;
  readonly changes: readonly DescribedChange[];
  readonly faults: readonly Fault[];
}

export interface AppliedChange {
  /** That it is in force at; the one of before where nothing was to change. */
  readonly revision: number;
  readonly changes: readonly DescribedChange[];
}

export interface StoredEntry<K extends Kind> {
  readonly value: ByKind[K];
  readonly revision: number;
}

/** Kinds that are written entry by entry through here. */
export type EntryKind = Exclude<Kind, "site" | "account">;

/** The configuration as a whole, and its entries besides accounts. Each throws what `Configuration` does. */
export interface SiteDocuments {
  document(hashes: boolean): Promise<{ readonly document: SiteDocument; readonly revision: number }>;
  /** What a document would change, and what is wrong with it. Writes nothing. */
  plan(document: unknown, prune: boolean): Promise<PlannedChange>;
  /** All of it or nothing. Throws `InvalidConfigError` with each fault's path. */
  apply(
    document: unknown,
    prune: boolean,
    options: ChangeNote & { readonly expected?: number },
  ): Promise<AppliedChange>;
  /** Newest first. */
  history(): Promise<readonly PastChange[]>;
  /**
   * Makes the configuration what it was at a revision of the history; as a change of its own. Administrators, and the
   * passwords of accounts that are still there, stay: what was revoked doesn't come back. Throws code `not-found` for a
   * revision that the history doesn't know.
   */
  planRollback(revision: number): Promise<PlannedChange>;
  rollback(revision: number, note: ChangeNote): Promise<AppliedChange>;

  /** Seals everything anew with the cluster key file's first key (rotation.ts). */
  rotateKey(): Promise<Rotated>;

  list<K extends EntryKind>(kind: K): Promise<readonly StoredEntry<K>[]>;
  get<K extends EntryKind>(kind: K, name: string): Promise<StoredEntry<K> | undefined>;
  /** `input` may hold a `secret` to be sealed; one that isn't given stays, `null` removes it. */
  put<K extends EntryKind>(
    kind: K,
    name: string,
    input: Readonly<Record<string, unknown>>,
    expected: Expectation | undefined,
    note: ChangeNote,
  ): Promise<StoredEntry<K> & { readonly created: boolean }>;
  /** False where there was none. */
  remove(kind: EntryKind, name: string, expected: number | undefined, note: ChangeNote): Promise<boolean>;
}

const ROLLBACK_TRIES = 8;

export function createSiteDocuments(options: {
  readonly coordination: Coordination;
  readonly clusterKey: KeyRing;
}): SiteDocuments {
  const { coordination, clusterKey: ring } = options;
  const configuration: Configuration = createConfiguration({ coordination });

  const parse = (input: unknown): SiteDocument => {
    const parsed = documentSchema.safeParse(input);
    if (parsed.success) return parsed.data;
    throw new InvalidConfigError("the document isn't valid", faultsOf(parsed.error));
  };

  const readRollback = async (revision: number) => {
    const current = await configuration.read();
    const changes = await pastChanges(coordination);
    if (!changes.some((change) => change.revision === revision)) {
      throw new LongshoreError(
        "not-found",
        `revision ${revision} isn't in the history: see \`longshore config history\``,
      );
    }
    return { current, changes: changesBack(current, valuesAt(changes, revision)) };
  };

  const demand = (current: CurrentConfig, kind: Kind, name: string, expected: Expectation | undefined) => {
    const now = current.entries.get(keyOf(kind, name))?.modRevision;
    if (expected !== undefined && expected !== (now ?? "absent")) {
      throw new StaleRevisionError(`${kind} ${name}`, now ?? 0);
    }
    return now;
  };

  return {
    async document(hashes) {
      const { model, revision } = await configuration.read();
      return { document: toDocument(model, hashes), revision };
    },

    async plan(input, prune) {
      const document = parse(input);
      const current = await configuration.read();
      const { changes, faults } = planDocument(document, current, { prune, ring });
      const all = [...faults, ...changeFaults(current, changes, true)];
      return { revision: current.revision, changes: describeChanges(changes, current), faults: all };
    },

    async apply(input, prune, { expected, ...note }) {
      const document = parse(input);
      let described: DescribedChange[] = [];
      const { revision } = await configuration.change(
        (current) => {
          const { changes, faults } = planDocument(document, current, { prune, ring });
          if (faults.length > 0) throw new InvalidConfigError("the document isn't valid", faults);
          described = describeChanges(changes, current);
          return changes;
        },
        { ...note, strict: true, ...(expected === undefined ? {} : { expected }) },
      );
      return { revision, changes: described };
    },

    history: () => pastChanges(coordination),

    async planRollback(revision) {
      const { current, changes } = await readRollback(revision);
      const faults = changeFaults(current, changes, false);
      return { revision: current.revision, changes: describeChanges(changes, current), faults };
    },

    async rollback(revision, note) {
      for (let tried = 1; ; tried++) {
        const { current, changes } = await readRollback(revision);
        try {
          const summary = note.summary ?? `rollback to revision ${revision}`;
          const made = await configuration.change(() => changes, { ...note, summary, expected: current.revision });
          return { revision: made.revision, changes: describeChanges(changes, current) };
        } catch (error) {
          // What happened since must be rolled back, too.
          if (!(error instanceof StaleRevisionError) || tried >= ROLLBACK_TRIES) throw error;
        }
      }
    },

    rotateKey: () => rotateClusterKey(coordination, ring),

    async list<K extends EntryKind>(kind: K) {
      const { prefix } = KIND_RULES[kind];
      const { entries } = await coordination.list(prefix);
      return entries.flatMap((entry) => stored(kind, entry) ?? []);
    },

    async get<K extends EntryKind>(kind: K, name: string) {
      if (kindOf(keyOf(kind, name))?.kind !== kind) return undefined;
      const entry = await coordination.get(keyOf(kind, name));
      return entry && stored(kind, entry);
    },

    async put<K extends EntryKind>(
      kind: K,
      name: string,
      input: Readonly<Record<string, unknown>>,
      expected: Expectation | undefined,
      note: ChangeNote,
    ) {
      if (kindOf(keyOf(kind, name))?.kind !== kind) {
        throw new InvalidConfigError(`the ${kind} isn't valid`, [
          { path: "id", message: "names of host keys are taken" },
        ]);
      }
      let value: ByKind[K] | undefined;
      let created = false;
      let unchangedAt: number | undefined;
      const { revision } = await configuration.change((current) => {
        const now = demand(current, kind, name, expected);
        const made = entryFrom(kind, name, input, current, ring);
        if (made.value === undefined) throw new InvalidConfigError(`the ${kind} isn't valid`, made.faults);
        value = made.value;
        created = now === undefined;
        const changes = unlessSame(kind, name, made.value, current);
        unchangedAt = changes.length === 0 ? now : undefined;
        return changes;
      }, note);
      return { value: value as ByKind[K], revision: unchangedAt ?? revision, created };
    },

    async remove(kind, name, expected, note) {
      let found = false;
      await configuration.change((current) => {
        demand(current, kind, name, expected);
        // An entry that can't be read can be removed, too.
        found = current.entries.has(keyOf(kind, name)) && kindOf(keyOf(kind, name))?.kind === kind;
        return found ? [{ kind, name, value: undefined }] : [];
      }, note);
      return found;
    },
  };
}

function stored<K extends Kind>(kind: K, entry: { key: string; value: string; modRevision: number }) {
  const of = kindOf(entry.key);
  if (of?.kind !== kind) return undefined;
  try {
    const value = decodeValue(kind, of.name, entry.value);
    return value && { value, revision: entry.modRevision };
  } catch {
    return undefined;
  }
}

/** The changes that bring each key back to what it held. */
function changesBack(current: CurrentConfig, values: ReadonlyMap<string, string | null>): EntryChange[] {
  return [...values].flatMap(([key, text]): EntryChange[] => {
    const of = kindOf(key);
    if (of === undefined || of.kind === "administrator") return [];
    const { kind, name } = of;
    const now = currentValue(current, kind, name);
    if (text === null) return now === undefined || kind === "site" ? [] : [{ kind, name, value: undefined }];
    let value = decodeOld(kind, name, text);
    if (value === undefined) return [];
    if (kind === "account" && now !== undefined) value = withOwnPassword(value as ByKind["account"], now);
    return unlessSame(kind, name, value, current);
  });
}

function decodeOld(kind: Kind, name: string, text: string): ByKind[Kind] | undefined {
  try {
    return decodeValue(kind, name, text);
  } catch (error) {
    const faults = error instanceof ZodError ? faultsOf(error) : [{ path: "", message: messageOf(error) }];
    throw new InvalidConfigError(`${keyOf(kind, name)} can't be brought back`, faults);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function withOwnPassword(account: ByKind["account"], now: Readonly<Record<string, unknown>>): ByKind["account"] {
  const { passwordHash: _hash, passwordChangedAt: _at, passwordHistory: _history, ...rest } = account;
  const kept = ["passwordHash", "passwordChangedAt", "passwordHistory"].flatMap((field) =>
    now[field] === undefined ? [] : [[field, now[field]] as const],
  );
  return { ...rest, ...Object.fromEntries(kept) };
}
