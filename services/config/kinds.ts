import type { z } from "zod";
import { keys } from "#coordination/keys.js";
import {
  type Administrator,
  administratorSchema,
  type Certificate,
  certificateSchema,
  type Group,
  groupSchema,
  type Profile,
  profileSchema,
  type SshKey,
  sshKeySchema,
} from "./entries.js";
import type { Fault } from "./errors.js";
import { HOST_KEY_PREFIX } from "./host-keys.js";
import { formFields, KINDS, type Kind, type Migrations, ourForm, toOurForm } from "./migrations.js";
import { type Account, accountSchema, type Site, siteSchema } from "./schema.js";

/** What an entry of each kind holds. */
export interface ByKind {
  readonly site: Site;
  readonly account: Account;
  readonly group: Group;
  readonly profile: Profile;
  readonly key: SshKey;
  readonly certificate: Certificate;
  readonly administrator: Administrator;
}

export interface KindRules<K extends Kind> {
  readonly kind: K;
  /** Store keys start so; the site's is the whole key. */
  readonly prefix: string;
  readonly schema: z.ZodType<ByKind[K]>;
  /** The field that repeats the last part of the store key. */
  readonly nameField: "name" | "id" | undefined;
  /** The section of a whole-site document (document.ts). */
  readonly section: string;
}

export const KIND_RULES: { readonly [K in Kind]: KindRules<K> } = {
  site: { kind: "site", prefix: keys.site, schema: siteSchema, nameField: undefined, section: "site" },
  account: {
    kind: "account",
    prefix: keys.accountPrefix,
    schema: accountSchema,
    nameField: "name",
    section: "accounts",
  },
  group: { kind: "group", prefix: keys.groupPrefix, schema: groupSchema, nameField: "name", section: "groups" },
  profile: { kind: "profile", prefix: keys.profilePrefix, schema: profileSchema, nameField: "id", section: "profiles" },
  key: { kind: "key", prefix: keys.secretPrefix, schema: sshKeySchema, nameField: "id", section: "keys" },
  certificate: {
    kind: "certificate",
    prefix: keys.certificatePrefix,
    schema: certificateSchema,
    nameField: "id",
    section: "certificates",
  },
  administrator: {
    kind: "administrator",
    prefix: keys.administratorPrefix,
    schema: administratorSchema,
    nameField: "name",
    section: "administrators",
  },
};

/** Which kind of entry lies under a store key, and its name there; undefined for what isn't of the model. */
export function kindOf(key: string): { readonly kind: Kind; readonly name: string } | undefined {
  if (key === keys.site) return { kind: "site", name: "" };
  if (key.startsWith(HOST_KEY_PREFIX)) return undefined;
  for (const kind of KINDS) {
    const { prefix } = KIND_RULES[kind];
    if (kind !== "site" && key.startsWith(prefix)) return { kind, name: key.slice(prefix.length) };
  }
  return undefined;
}

export function keyOf(kind: Kind, name: string): string {
  return kind === "site" ? keys.site : `${KIND_RULES[kind].prefix}${name}`;
}

/** A key under `config/keys/` may be of a kind that a later version knows: those are left alone. */
export function isForeignKey(kind: Kind, fields: unknown): boolean {
  return kind === "key" && isRecord(fields) && typeof fields.kind === "string" && fields.kind !== "ssh-key";
}

/**
 * The entry in our form, checked; undefined where it isn't one of ours. Throws ZodError, or SyntaxError with what is wrong
 * with it as a whole.
 */
export function decodeValue<K extends Kind>(
  kind: K,
  name: string,
  text: string,
  migrations?: Migrations,
): ByKind[K] | undefined {
  const stored: unknown = JSON.parse(text);
  if (!isRecord(stored)) throw new SyntaxError("isn't an object");
  if (isForeignKey(kind, stored)) return undefined;
  const form = toOurForm(kind, stored, migrations);
  if (!form.readable) throw new SyntaxError(form.why);
  const rules = KIND_RULES[kind];
  const value = form.tolerant ? parseTolerantly(rules.schema, form.fields) : rules.schema.parse(form.fields);
  assertNamed(kind, name, value);
  return value;
}

/** Why an entry of a later version isn't written over. */
export const NEWER_FORM: Fault = {
  path: "schema",
  message: "what is stored is of a newer form than this node knows: write it through an upgraded node",
};

/** As it is written to the store. */
export function encodeValue<K extends Kind>(kind: K, value: ByKind[K]): string {
  return JSON.stringify({ ...formFields(kind), ...value });
}

/** Whether a stored entry is of a newer form than ours: writing it anew would lose what we don't know. */
export function isNewerForm(kind: Kind, text: string): boolean {
  try {
    const stored: unknown = JSON.parse(text);
    return isRecord(stored) && typeof stored.schema === "number" && stored.schema > ourForm(kind);
  } catch {
    return false;
  }
}

function assertNamed(kind: Kind, name: string, value: object): void {
  const { nameField } = KIND_RULES[kind];
  if (nameField === undefined) return;
  const own: unknown = (value as Readonly<Record<string, unknown>>)[nameField];
  if (own !== name) throw new SyntaxError(`is the ${kind} "${String(own)}" under another's key`);
}

/** Leaves out what the schema doesn't know, wherever it is, and nothing else. Throws ZodError. */
function parseTolerantly<T>(schema: z.ZodType<T>, fields: Readonly<Record<string, unknown>>): T {
  const copy = structuredClone(fields);
  // Each round removes at least one field of each strict object that has unknown ones: depth bounds the rounds.
  for (let round = 0; round < 16; round++) {
    const parsed = schema.safeParse(copy);
    if (parsed.success) return parsed.data;
    const unknown = parsed.error.issues.filter((issue) => issue.code === "unrecognized_keys");
    if (unknown.length === 0) throw parsed.error;
    for (const { path, keys: names } of unknown) removeAt(copy, path, names);
  }
  return schema.parse(copy);
}

function removeAt(value: unknown, path: readonly PropertyKey[], names: readonly string[]): void {
  let at: unknown = value;
  for (const part of path)
    at = isRecord(at) || Array.isArray(at) ? (at as Record<PropertyKey, unknown>)[part] : undefined;
  if (isRecord(at)) for (const name of names) delete at[name];
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
