import { createPrivateKey, X509Certificate } from "node:crypto";
import { z } from "zod";
import { type KeyRing, open, SealError, seal } from "#lib/seal.js";
import type { ConfigModel } from "./check.js";
import { type CurrentConfig, type EntryChange, sectionOf } from "./configuration.js";
import { type Fault, faultsOf } from "./errors.js";
import { entryNameSchema } from "./fields.js";
import { type ByKind, isRecord, KIND_RULES, keyOf } from "./kinds.js";
import { KINDS, type Kind } from "./migrations.js";
import { canonicalJson } from "./snapshot.js";

/**
 * The whole site as one document, for version control: a section per kind, an entry per name. Secrets are never in it as they
 * are: password hashes and tokens stay out (what is absent stays as it is), other secrets are sealed envelopes, and a
 * `secret` may be given where it is applied.
 */
export const DOCUMENT_VERSION = 1;

/** More accounts than that don't go into one transaction anyway. */
const section = z.record(entryNameSchema, z.record(z.string(), z.unknown())).optional();

export const documentSchema = z.strictObject({
  version: z.literal(DOCUMENT_VERSION).default(DOCUMENT_VERSION),
  site: z.record(z.string(), z.unknown()).optional(),
  accounts: section,
  groups: section,
  profiles: section,
  keys: section,
  certificates: section,
  administrators: section,
});
export type SiteDocument = z.infer<typeof documentSchema>;

/** Kept unless a document names them; `null` removes them. */
const KEPT: Readonly<Partial<Record<Kind, readonly string[]>>> = {
  account: ["passwordHash", "passwordChangedAt", "passwordHistory"],
  administrator: ["passwordHash", "tokens"],
  profile: ["sealed"],
  key: ["sealed"],
  certificate: ["sealed"],
};
const SEALED_KINDS: ReadonlySet<Kind> = new Set(["profile", "key", "certificate"]);
/** Fields whose values are shown to nobody. */
const SECRET_FIELDS: ReadonlySet<string> = new Set(["passwordHash", "passwordHistory", "sealed", "tokens"]);

/** The site's document. `hashes`: with password hashes and hashes of tokens, to move accounts to another site. Pure. */
export function toDocument(model: ConfigModel, hashes = false): SiteDocument {
  const entries = (kind: Exclude<Kind, "site">) => {
    const { nameField } = KIND_RULES[kind];
    const hidden = new Set(KEPT[kind]?.filter((field) => field !== "sealed" && !hashes));
    if (nameField !== undefined) hidden.add(nameField);
    if (kind === "key") hidden.add("kind");
    const list = [...sectionOf(model, kind)].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(list.map(([name, value]) => [name, shownFields(value, hidden)]));
  };
  const { id: _id, ...site } = model.site;
  return {
    version: DOCUMENT_VERSION,
    site,
    groups: entries("group"),
    accounts: entries("account"),
    profiles: entries("profile"),
    keys: entries("key"),
    certificates: entries("certificate"),
    administrators: entries("administrator"),
  };
}

/** Without what is hidden and without empty lists, which are what a missing one means. */
function shownFields(value: object, hidden: ReadonlySet<string>): Record<string, unknown> {
  const isEmptyList = (name: string, field: unknown) =>
    ["groups", "folders", "publicKeys", "tokens"].includes(name) && Array.isArray(field) && field.length === 0;
  return Object.fromEntries(
    Object.entries(value).filter(([name, field]) => !hidden.has(name) && !isEmptyList(name, field)),
  );
}

export interface PlanOptions {
  /** Whether entries that a present section doesn't name are removed. A section that is absent is always left alone. */
  readonly prune: boolean;
  readonly ring: KeyRing;
}

export interface Plan {
  readonly changes: readonly EntryChange[];
  readonly faults: readonly Fault[];
}

/** What is to change to make the site what the document says. An entry that is the same already isn't in it. */
export function planDocument(document: SiteDocument, current: CurrentConfig, options: PlanOptions): Plan {
  const changes: EntryChange[] = [];
  const faults: Fault[] = [];
  const add = (kind: Kind, name: string, fields: Record<string, unknown>, at: string) => {
    const made = entryFrom(kind, name, fields, current, options.ring);
    for (const { path, message } of made.faults) faults.push({ path: `${at}.${path}`, message });
    if (made.value !== undefined) changes.push(...unlessSame(kind, name, made.value, current));
  };
  if (document.site !== undefined) add("site", "", { id: current.model.site.id, ...document.site }, "site");
  for (const kind of KINDS) {
    if (kind === "site") continue;
    const name = KIND_RULES[kind].section as Exclude<keyof SiteDocument, "version" | "site">;
    const entries = document[name];
    if (entries === undefined) continue;
    for (const [each, fields] of Object.entries(entries)) add(kind, each, fields, `${name}/${each}`);
    if (!options.prune) continue;
    for (const each of sectionOf(current.model, kind).keys()) {
      if (!Object.hasOwn(entries, each)) changes.push({ kind, name: each, value: undefined });
    }
  }
  return { changes, faults };
}

/** One entry as somebody wrote it, with what he may leave out. */
export function entryFrom<K extends Kind>(
  kind: K,
  name: string,
  input: Readonly<Record<string, unknown>>,
  current: CurrentConfig,
  ring: KeyRing,
): { readonly value?: ByKind[K]; readonly faults: readonly Fault[] } {
  const { secret, ...given } = input;
  const fields: Record<string, unknown> = given;
  const rules = KIND_RULES[kind];
  const before = currentValue(current, kind, name);
  const faults: Fault[] = [];
  const set = (field: string, value: unknown) => {
    if (value === undefined || value === null) delete fields[field];
    else fields[field] = value;
  };
  if (rules.nameField !== undefined) {
    if (fields[rules.nameField] !== undefined && fields[rules.nameField] !== name) {
      faults.push({ path: rules.nameField, message: "isn't the name that the entry is under" });
    }
    set(rules.nameField, name);
  }
  if (kind === "key" && fields.kind === undefined) set("kind", "ssh-key");
  const sealed = SEALED_KINDS.has(kind)
    ? sealedFrom({ secret, sealed: fields.sealed, before: before?.sealed }, keyOf(kind, name), ring)
    : secret === undefined
      ? {}
      : { fault: { path: "secret", message: "entries of this kind have none" } };
  if (sealed.fault !== undefined) faults.push(sealed.fault);
  for (const field of KEPT[kind] ?? []) {
    if (field === "sealed") set(field, sealed.value);
    else set(field, fields[field] === undefined ? before?.[field] : fields[field]);
  }
  const parsed = rules.schema.safeParse(fields);
  if (!parsed.success) return { faults: [...faults, ...faultsOf(parsed.error)] };
  if (kind === "certificate" && sealed.value !== undefined) {
    const certificate = parsed.data as ByKind["certificate"];
    if (sealed.value !== before?.sealed || certificate.chain !== before?.chain) {
      faults.push(...privateKeyFaults(certificate, open(sealed.value, ring, keyOf(kind, name))));
    }
  }
  return faults.length > 0 ? { faults } : { value: parsed.data, faults };
}

/** The envelope to store. One whose secret is the same as now stays as it is, so that nothing changes for nothing. */
function sealedFrom(
  { secret, sealed, before }: { secret: unknown; sealed: unknown; before: unknown },
  context: string,
  ring: KeyRing,
): { readonly value?: string; readonly fault?: Fault } {
  if (secret === undefined && sealed === undefined) return typeof before === "string" ? { value: before } : {};
  if (secret !== undefined && sealed !== undefined) {
    return { fault: { path: "secret", message: "or sealed, not both" } };
  }
  const given = secret === undefined ? sealed : secret;
  if (given === null) return {};
  if (typeof given !== "string" || given.length === 0 || given.length > 65_536) {
    return { fault: { path: secret === undefined ? "sealed" : "secret", message: "text of 1 to 65,536 characters" } };
  }
  try {
    const plain = secret === undefined ? open(given, ring, context) : Buffer.from(given);
    if (typeof before === "string" && isSame(before, plain, context, ring)) return { value: before };
    return { value: secret === undefined ? given : seal(plain, ring, context) };
  } catch (error) {
    if (!(error instanceof SealError)) throw error;
    return { fault: { path: "sealed", message: error.message } };
  }
}

/** A certificate with a stranger's key would be found out by the first client that connects. */
function privateKeyFaults({ chain }: ByKind["certificate"], privateKey: Buffer): Fault[] {
  try {
    if (new X509Certificate(chain).checkPrivateKey(createPrivateKey(privateKey))) return [];
    return [{ path: "secret", message: "isn't the private key of the chain's first certificate" }];
  } catch {
    return [{ path: "secret", message: "isn't a private key in PEM without a passphrase, or the chain isn't one" }];
  }
}

function isSame(envelope: string, plain: Buffer, context: string, ring: KeyRing): boolean {
  try {
    return open(envelope, ring, context).equals(plain);
  } catch {
    return false;
  }
}

export function currentValue(
  current: Pick<CurrentConfig, "model">,
  kind: Kind,
  name: string,
): Readonly<Record<string, unknown>> | undefined {
  const value: unknown = kind === "site" ? current.model.site : sectionOf(current.model, kind).get(name);
  return isRecord(value) ? value : undefined;
}

export function unlessSame(kind: Kind, name: string, value: ByKind[Kind], current: CurrentConfig): EntryChange[] {
  const before = currentValue(current, kind, name);
  if (before !== undefined && canonicalJson(before) === canonicalJson(value)) return [];
  return [{ kind, name, value } as EntryChange];
}

/** A change as people read it; secrets only say that they change. */
export interface DescribedChange {
  /** `accounts/ann`, or `site`. */
  readonly entry: string;
  readonly change: "add" | "change" | "remove";
  readonly fields: readonly { readonly field: string; readonly before?: unknown; readonly after?: unknown }[];
}

/** Pure. */
export function describeChanges(changes: readonly EntryChange[], current: CurrentConfig): DescribedChange[] {
  return changes.map(({ kind, name, value }) => {
    const before = currentValue(current, kind, name);
    const after = value as Readonly<Record<string, unknown>> | undefined;
    const entry = kind === "site" ? "site" : `${KIND_RULES[kind].section}/${name}`;
    const fields = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].flatMap((field) => {
      const [old, fresh] = [before?.[field], after?.[field]];
      if (canonicalJson(old) === canonicalJson(fresh)) return [];
      const shown = (part: unknown) => (part === undefined || !SECRET_FIELDS.has(field) ? part : "(secret)");
      return [
        {
          field,
          ...(old === undefined ? {} : { before: shown(old) }),
          ...(fresh === undefined ? {} : { after: shown(fresh) }),
        },
      ];
    });
    return { entry, change: before === undefined ? "add" : after === undefined ? "remove" : "change", fields };
  });
}
