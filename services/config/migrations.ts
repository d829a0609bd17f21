/**
 * Forms of entries over versions of the software. An entry may say `schema: N` (absent: 1) and `readableBy: M` (absent: N).
 * An older form is brought up to ours step by step. A newer one is read if `readableBy` is at most ours: what we don't know
 * of it is passed over, so that a rolling upgrade can write new fields while old nodes still serve. A change of form that
 * an old node would misread (a limit it would pass over, say) must raise `readableBy`, too: then old nodes keep their last
 * good configuration and say so.
 */
export const KINDS = ["site", "account", "group", "profile", "key", "certificate", "administrator"] as const;
export type Kind = (typeof KINDS)[number];

/** From form n to n + 1. Pure. */
export type Migration = (old: Readonly<Record<string, unknown>>) => Record<string, unknown>;

/** Per kind: the first one leads from form 1 to 2, and so on. A kind's own form is one more than it has steps. */
export type Migrations = Readonly<Record<Kind, readonly Migration[]>>;

export const MIGRATIONS: Migrations = {
  site: [],
  account: [],
  group: [],
  profile: [],
  key: [],
  certificate: [],
  administrator: [],
};

/** A step for a form that only has more fields than the one before. */
export const FIELDS_ADDED: Migration = (old) => ({ ...old });

/** The oldest form that reads each kind as we write it, where that isn't our own form: `readableBy` of what we write. */
export type ReadableBy = Readonly<Partial<Record<Kind, number>>>;

/**
 * To add a field that older nodes may pass over: one FIELDS_ADDED in MIGRATIONS, and here the form that they know. Without
 * the step a node of the version before would take the entry for a damaged one, and no change would reach it any more.
 */
export const READABLE_BY: ReadableBy = {};

export type Form =
  /** `tolerant`: it is of a newer form; unknown fields are passed over. */
  | { readonly readable: true; readonly fields: Readonly<Record<string, unknown>>; readonly tolerant: boolean }
  | { readonly readable: false; readonly why: string };

/** The fields of a stored entry in our form. Pure. */
export function toOurForm(
  kind: Kind,
  stored: Readonly<Record<string, unknown>>,
  migrations: Migrations = MIGRATIONS,
): Form {
  const steps = migrations[kind];
  // Nearly every entry: no copy is made of it.
  if (steps.length === 0 && stored.schema === undefined && stored.readableBy === undefined) {
    return { readable: true, fields: stored, tolerant: false };
  }
  const { schema = 1, readableBy = schema, ...rest } = stored;
  const ours = ourForm(kind, migrations);
  if (!isForm(schema) || !isForm(readableBy) || readableBy > schema) {
    return { readable: false, why: "schema and readableBy must be whole numbers from 1, readableBy at most schema" };
  }
  if (schema > ours) {
    if (readableBy <= ours) return { readable: true, fields: rest, tolerant: true };
    return { readable: false, why: `is of the form ${schema}; this node knows ${ours} at most: upgrade it` };
  }
  const fields = steps.slice(schema - 1).reduce<Record<string, unknown>>((old, step) => step(old), rest);
  return { readable: true, fields, tolerant: false };
}

export function ourForm(kind: Kind, migrations: Migrations = MIGRATIONS): number {
  return migrations[kind].length + 1;
}

/** The form in which we write, as fields of the entry; form 1 isn't spelled out, so that the first version reads it. */
export function formFields(
  kind: Kind,
  migrations: Migrations = MIGRATIONS,
  readable: ReadableBy = READABLE_BY,
): { schema?: number; readableBy?: number } {
  const ours = ourForm(kind, migrations);
  const readableBy = readable[kind] ?? ours;
  return ours === 1 ? {} : { schema: ours, ...(readableBy < ours ? { readableBy } : {}) };
}

function isForm(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}
