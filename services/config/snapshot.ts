import { createHash } from "node:crypto";
import { z } from "zod";
import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { type KeyRing, SealError } from "#lib/seal.js";
import { type Administrator, administratorSchema } from "./administrator-schema.js";
import type { Snapshot } from "./contract.js";
import { type Fault, faultsOf } from "./errors.js";
import { HOST_KEY_KINDS, HOST_KEY_PREFIX, hostKeyPath, openHostKey } from "./host-keys.js";
import { type Account, accountSchema, type Site, siteSchema } from "./schema.js";

/**
 * Rewritten by every transaction that changes the configuration, so that its revision names the configuration's, also
 * after a deletion (the entries that are left don't show that one).
 */
export const CONFIG_HEAD = keys.configHead;

export interface EntryFault extends Fault {
  /** The store key that can't be used. */
  readonly key: string;
}

export type Decoded =
  | { readonly valid: true; readonly snapshot: Snapshot }
  | { readonly valid: false; readonly faults: readonly EntryFault[] };

/** Entries decoded before, by store key: a site has thousands of accounts, and one changes at a time. */
export type DecodeCache = Map<string, CachedEntry>;
interface CachedEntry {
  readonly modRevision: number;
  readonly value: Decodable;
  readonly digest: string;
}
type Decodable =
  | { readonly kind: "site"; readonly site: Site }
  | { readonly kind: "account"; readonly account: Account }
  | { readonly kind: "administrator"; readonly administrator: Administrator }
  | { readonly kind: "host-key"; readonly privateKey: string };

/**
 * A snapshot of all entries under `config/`, or what is wrong with them. Valid as a whole or not at all: half a
 * configuration could let in somebody whom the other half shuts out. Entries of kinds that this version doesn't know
 * are left alone. Pure but for the cache.
 */
export function decodeConfig(entries: readonly Entry[], ring: KeyRing, cache: DecodeCache = new Map()): Decoded {
  const faults: EntryFault[] = [];
  const accounts = new Map<string, Account>();
  const administrators = new Map<string, Administrator>();
  const hostKeys = new Map<string, string>();
  const digests: string[] = [];
  const present = new Set<string>();
  let site: Site | undefined;
  let revision = 0;

  for (const entry of entries) {
    revision = Math.max(revision, entry.modRevision);
    present.add(entry.key);
    const decoded = decodeCached(entry, ring, cache, faults);
    if (decoded === undefined) continue;
    digests.push(`${entry.key}\0${decoded.digest}`);
    if (decoded.value.kind === "site") site = decoded.value.site;
    else if (decoded.value.kind === "account") accounts.set(decoded.value.account.name, decoded.value.account);
    else if (decoded.value.kind === "administrator")
      administrators.set(decoded.value.administrator.name, decoded.value.administrator);
    else hostKeys.set(entry.key, decoded.value.privateKey);
  }
  for (const key of cache.keys()) if (!present.has(key)) cache.delete(key);

  if (!present.has(keys.site)) faults.push({ key: keys.site, path: "", message: "is missing" });
  for (const kind of HOST_KEY_KINDS) {
    const key = hostKeyPath(kind);
    if (!present.has(key)) faults.push({ key, path: "", message: "is missing" });
  }
  if (site === undefined || faults.length > 0) return { valid: false, faults };

  const hash = createHash("sha256").update(digests.sort().join("\n")).digest("hex");
  const snapshot: Snapshot = { revision, hash, site, accounts, administrators, hostKeys: inOrder(hostKeys) };
  return { valid: true, snapshot: Object.freeze(snapshot) };
}

/** The order in which a server offers its keys. */
function inOrder(hostKeys: ReadonlyMap<string, string>): readonly string[] {
  const known = HOST_KEY_KINDS.map((kind) => hostKeyPath(kind));
  const rank = (key: string) => {
    const at = known.indexOf(key);
    return at === -1 ? known.length : at;
  };
  return Object.freeze([...hostKeys].sort(([a], [b]) => rank(a) - rank(b)).map(([, privateKey]) => privateKey));
}

function decodeCached(entry: Entry, ring: KeyRing, cache: DecodeCache, faults: EntryFault[]): CachedEntry | undefined {
  const before = cache.get(entry.key);
  if (before?.modRevision === entry.modRevision) return before;
  try {
    const value = decodeEntry(entry, ring);
    if (value === undefined) return undefined;
    const decoded = { modRevision: entry.modRevision, value: deepFreeze(value), digest: digestOf(value) };
    cache.set(entry.key, decoded);
    return decoded;
  } catch (error) {
    cache.delete(entry.key);
    faults.push(...entryFaults(entry.key, error));
    return undefined;
  }
}

function decodeEntry(entry: Entry, ring: KeyRing): Decodable | undefined {
  if (entry.key === keys.site) return { kind: "site", site: siteSchema.parse(JSON.parse(entry.value)) };
  if (entry.key.startsWith(keys.accountPrefix)) {
    const account = accountSchema.parse(JSON.parse(entry.value));
    const name = entry.key.slice(keys.accountPrefix.length);
    if (account.name !== name) throw new SyntaxError(`is the account "${account.name}" under another's key`);
    return { kind: "account", account };
  }
  if (entry.key.startsWith(keys.administratorPrefix)) {
    const administrator = administratorSchema.parse(JSON.parse(entry.value));
    const name = entry.key.slice(keys.administratorPrefix.length);
    if (administrator.name !== name) throw new SyntaxError(`is "${administrator.name}" under another's key`);
    return { kind: "administrator", administrator };
  }
  if (entry.key.startsWith(HOST_KEY_PREFIX)) {
    return { kind: "host-key", privateKey: openHostKey(entry.key, entry.value, ring) };
  }
  return undefined;
}

function entryFaults(key: string, error: unknown): EntryFault[] {
  if (error instanceof z.ZodError) return faultsOf(error).map((fault) => ({ key, ...fault }));
  if (error instanceof SealError || error instanceof SyntaxError) return [{ key, path: "", message: error.message }];
  throw error;
}

/** Of the content with its defaults filled in, keys sorted: how an entry was spelled in the store doesn't count. */
function digestOf(value: Decodable): string {
  return createHash("sha256").update(canonicalJson(value)).digest("hex");
}

export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_name, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
