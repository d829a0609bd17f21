import { createHash } from "node:crypto";
import { z } from "zod";
import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { type KeyRing, open, SealError } from "#lib/seal.js";
import type { Snapshot } from "./contract.js";
import { type Fault, faultsOf } from "./errors.js";
import { HOST_KEY_KINDS, HOST_KEY_PREFIX, hostKeyPath, openHostKey } from "./host-keys.js";
import { type ByKind, decodeValue, kindOf } from "./kinds.js";
import type { Kind } from "./migrations.js";

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
  | { readonly [K in Kind]: { readonly kind: K; readonly name: string; readonly value: ByKind[K] } }[Kind]
  | { readonly kind: "host-key"; readonly privateKey: string };

/**
 * A snapshot of all entries under `config/`, or what is wrong with them. Valid as a whole or not at all: half a
 * configuration could let in somebody whom the other half shuts out. Entries of kinds that this version doesn't know
 * are left alone. Pure but for the cache.
 */
export function decodeConfig(entries: readonly Entry[], ring: KeyRing, cache: DecodeCache = new Map()): Decoded {
  const faults: EntryFault[] = [];
  const found = noEntries();
  const hostKeys = new Map<string, string>();
  const digests: string[] = [];
  const present = new Set<string>();
  let site: ByKind["site"] | undefined;
  let revision = 0;

  for (const entry of entries) {
    revision = Math.max(revision, entry.modRevision);
    present.add(entry.key);
    const decoded = decodeCached(entry, ring, cache, faults);
    if (decoded === undefined) continue;
    digests.push(`${entry.key}\0${decoded.digest}`);
    const { value } = decoded;
    if (value.kind === "host-key") hostKeys.set(entry.key, value.privateKey);
    else if (value.kind === "site") site = value.value;
    else if (value.kind === "account") found.accounts.set(value.name, value.value);
    else if (value.kind === "group") found.groups.set(value.name, value.value);
    else if (value.kind === "profile") found.profiles.set(value.name, value.value);
    else if (value.kind === "key") found.keys.set(value.name, value.value);
    else if (value.kind === "certificate") found.certificates.set(value.name, value.value);
    else found.administrators.set(value.name, value.value);
  }
  for (const key of cache.keys()) if (!present.has(key)) cache.delete(key);

  if (!present.has(keys.site)) faults.push({ key: keys.site, path: "", message: "is missing" });
  for (const kind of HOST_KEY_KINDS) {
    const key = hostKeyPath(kind);
    if (!present.has(key)) faults.push({ key, path: "", message: "is missing" });
  }
  if (site === undefined || faults.length > 0) return { valid: false, faults };

  const hash = createHash("sha256").update(digests.sort().join("\n")).digest("hex");
  const snapshot: Snapshot = { revision, hash, site, ...found, hostKeys: inOrder(hostKeys) };
  return { valid: true, snapshot: Object.freeze(snapshot) };
}

/** A snapshot's maps, empty. */
export function noEntries() {
  return {
    accounts: new Map<string, ByKind["account"]>(),
    groups: new Map<string, ByKind["group"]>(),
    profiles: new Map<string, ByKind["profile"]>(),
    keys: new Map<string, ByKind["key"]>(),
    certificates: new Map<string, ByKind["certificate"]>(),
    administrators: new Map<string, ByKind["administrator"]>(),
  };
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
  if (entry.key.startsWith(HOST_KEY_PREFIX)) {
    return { kind: "host-key", privateKey: openHostKey(entry.key, entry.value, ring) };
  }
  const of = kindOf(entry.key);
  if (of === undefined) return undefined;
  const value = decodeValue(of.kind, of.name, entry.value);
  if (value === undefined) return undefined;
  // A secret that this node can't open is found now, not when it is needed.
  if ("sealed" in value && value.sealed !== undefined) open(value.sealed, ring, entry.key);
  return { ...of, value } as Decodable;
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

/** By hand: JSON.stringify with a replacer takes several times as long, and a site has 100,000 accounts to start with. */
export function canonicalJson(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined";
  if (Array.isArray(value)) return `[${value.map((part) => canonicalJson(part)).join()}]`;
  const fields = value as Readonly<Record<string, unknown>>;
  let text = "";
  for (const name of Object.keys(fields).sort()) {
    const part = fields[name];
    if (part !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${canonicalJson(part)}`;
  }
  return `{${text}}`;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
