import { X509Certificate } from "node:crypto";
import { ALL_IPV4, ALL_IPV6, type Network, parseNetwork, subtractNetworks } from "#lib/networks.js";
import type { Snapshot } from "./contract.js";
import { mergeAccount } from "./effective.js";
import type { Group } from "./entries.js";
import type { Fault } from "./errors.js";
import { type Folder, storagePathFault } from "./fields.js";
import type { ByKind } from "./kinds.js";
import { KIND_RULES } from "./kinds.js";
import type { Kind } from "./migrations.js";
import { publicKeyFault } from "./public-key.js";
import type { Account, Site } from "./schema.js";

/** A site's configuration without what belongs to the store: what is checked as a whole. */
export type ConfigModel = Pick<
  Snapshot,
  "site" | "accounts" | "groups" | "profiles" | "keys" | "certificates" | "administrators"
>;

/**
 * What is wrong with a configuration whose entries are each valid: references to nothing, a home that leads outside, two
 * virtual folders at one path, rules that shut everybody out. With `before`, also that the last administrator who may do
 * everything would be gone. Paths are `<section>/<name>.<field>`. Pure.
 */
export function checkSite(model: ConfigModel, before?: Pick<ConfigModel, "administrators">): Fault[] {
  const faults: Fault[] = [];
  const add = (section: string, name: string, found: readonly Fault[]) => {
    for (const { path, message } of found) faults.push({ path: `${section}/${name}.${path}`, message });
  };
  for (const { path, message } of addressRulesFaults(model.site.addressRules)) {
    faults.push({ path: `site.${path}`, message });
  }
  for (const account of model.accounts.values()) {
    const groups = account.groups.map((name) => model.groups.get(name));
    add("accounts", account.name, accountFaults(account, groups));
  }
  for (const group of model.groups.values()) add("groups", group.name, folderFaults(group.folders));
  for (const { id, key } of model.profiles.values()) {
    if (key === undefined) continue;
    const found = model.keys.get(key);
    if (found === undefined) add("profiles", id, [{ path: "key", message: `there is no key "${key}"` }]);
    else if (found.sealed === undefined) {
      add("profiles", id, [{ path: "key", message: `the key "${key}" has no private part to log in with` }]);
    }
  }
  if (before !== undefined && canAdminister(before) && !canAdminister(model)) {
    faults.push({ path: "administrators", message: "the last enabled administrator with the role admin must stay" });
  }
  return faults;
}

/** Of an account, given its groups in their order (undefined: there is none of that name). Pure. */
export function accountFaults(account: Account, groups: readonly (Group | undefined)[]): Fault[] {
  const faults: Fault[] = [];
  account.groups.forEach((name, at) => {
    if (groups[at] === undefined) faults.push({ path: `groups.${at}`, message: `there is no group "${name}"` });
    if (account.groups.indexOf(name) !== at) faults.push({ path: `groups.${at}`, message: `"${name}" is there twice` });
  });
  const { home } = mergeAccount(account, groups);
  const fault = storagePathFault(home);
  if (fault !== undefined) faults.push({ path: "home", message: `${home}: ${fault}` });
  faults.push(...folderFaults(account.folders));
  return faults;
}

function folderFaults(folders: readonly Folder[]): Fault[] {
  const paths = folders.map(({ path }) => path);
  return paths.flatMap((path, at) =>
    paths.indexOf(path) === at ? [] : [{ path: `folders.${at}.path`, message: `two virtual folders at ${path}` }],
  );
}

/** Whether the rules leave anybody. `deny` wins; an empty `allow` allows everybody. Pure. */
export function addressRulesFaults({ allow, deny }: Site["addressRules"]): Fault[] {
  const parse = (list: readonly string[]) => list.flatMap((text) => parseNetwork(text) ?? []);
  const wanted: readonly Network[] = allow.length === 0 ? [ALL_IPV4, ALL_IPV6] : parse(allow);
  const left = subtractNetworks(wanted, parse(deny));
  // Where nobody named IPv6, what is left of it is no comfort to a site whose partners come by IPv4.
  const counted = allow.length === 0 ? left.filter(({ family }) => family === 4) : left;
  return counted.length > 0 ? [] : [{ path: "addressRules", message: "these rules lock everybody out" }];
}

function canAdminister({ administrators }: Pick<ConfigModel, "administrators">): boolean {
  return [...administrators.values()].some(({ enabled, role }) => enabled && role === "admin");
}

/** What no schema can say of one entry by itself. Run on what is to be written, not on all that is there. Pure. */
export function valueFaults<K extends Kind>(kind: K, value: ByKind[K]): Fault[] {
  if (kind === "account") {
    return (value as Account).publicKeys.flatMap((line, at) => keyLineFaults(line, `publicKeys.${at}`));
  }
  if (kind === "key") return keyLineFaults((value as ByKind["key"]).publicKey, "publicKey");
  if (kind === "certificate") {
    try {
      new X509Certificate((value as ByKind["certificate"]).chain);
    } catch {
      return [{ path: "chain", message: "isn't a certificate in PEM" }];
    }
  }
  return [];
}

function keyLineFaults(line: string, path: string): Fault[] {
  const message = publicKeyFault(line);
  return message === undefined ? [] : [{ path, message }];
}

/** Faults that a change brings: those that were there before aren't its own, and it may be what mends the others. Pure. */
export function newFaults(after: readonly Fault[], before: readonly Fault[]): Fault[] {
  const known = new Set(before.map(({ path, message }) => `${path}\0${message}`));
  return after.filter(({ path, message }) => !known.has(`${path}\0${message}`));
}

/** As a fault of the entry itself, where it is of that entry: `groups.0` instead of `accounts/ann.groups.0`. */
export function relativeTo(kind: Kind, name: string, faults: readonly Fault[]): Fault[] {
  const prefix = kind === "site" ? "site." : `${KIND_RULES[kind].section}/${name}.`;
  return faults.map(({ path, message }) => ({
    path: path.startsWith(prefix) ? path.slice(prefix.length) : path,
    message,
  }));
}
