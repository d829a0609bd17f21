import type { Snapshot } from "./contract.js";
import { type Group, homeOf } from "./entries.js";
import { type Folder, PERMISSIONS, type PermissionRule } from "./fields.js";
import type { Account } from "./schema.js";

/** An account with what it inherits filled in: what sessions and logins go by. */
export interface EffectiveAccount extends Account {
  permissions: PermissionRule[];
  home: string;
  /** Its own and its groups', at most one at each path, longest path first. */
  folders: Folder[];
}

const EVERYTHING: readonly PermissionRule[] = [{ path: "/", allow: [...PERMISSIONS] }];

/**
 * Merges an account with its groups: field by field its own value wins, then the first group's that has one. Folders are
 * united by path under the same order, and one with an `allow` of its own is a permission rule at its path. A group that
 * isn't there leaves the account disabled: what it would have forbidden isn't known. Pure.
 */
export function mergeAccount(account: Account, groups: readonly (Group | undefined)[]): EffectiveAccount {
  const known = groups.filter((group) => group !== undefined);
  const template = known.find((group) => group.home !== undefined)?.home;
  const folders = uniteFolders([account, ...known].map((each) => each.folders));
  const rules = account.permissions ?? first(known, "permissions") ?? EVERYTHING;
  const maxSessions = account.maxSessions ?? first(known, "maxSessions");
  const allowedAddresses = account.allowedAddresses ?? first(known, "allowedAddresses");
  return {
    ...account,
    enabled: account.enabled && known.length === groups.length,
    home: account.home ?? (template === undefined ? account.name : homeOf(template, account.name)),
    folders,
    permissions: withFolders(rules, folders),
    ...(maxSessions === undefined ? {} : { maxSessions }),
    ...(allowedAddresses === undefined ? {} : { allowedAddresses }),
  };
}

function first<K extends "permissions" | "maxSessions" | "allowedAddresses">(groups: readonly Group[], field: K) {
  return groups.find((group) => group[field] !== undefined)?.[field];
}

function uniteFolders(lists: readonly (readonly Folder[])[]): Folder[] {
  const byPath = new Map<string, Folder>();
  for (const folder of lists.flat()) if (!byPath.has(folder.path)) byPath.set(folder.path, folder);
  return [...byPath.values()].sort((a, b) => b.path.length - a.path.length || (a.path < b.path ? -1 : 1));
}

function withFolders(rules: readonly PermissionRule[], folders: readonly Folder[]): PermissionRule[] {
  const own = folders.flatMap(({ path, allow }) => (allow === undefined ? [] : [{ path, allow }]));
  const taken = new Set(own.map(({ path }) => path));
  return [...own, ...rules.filter(({ path }) => !taken.has(path))];
}

interface Merged {
  readonly groups: readonly (Group | undefined)[];
  readonly account: EffectiveAccount;
}

/** Entries keep their identity from snapshot to snapshot while they don't change, so a merge stays good as long as they do. */
const merged = new WeakMap<Account, Merged>();

/** The account as it is in force in this snapshot; undefined where there is none. The one way for sessions and logins. */
export function effectiveAccount(
  snapshot: Pick<Snapshot, "accounts" | "groups">,
  name: string,
): EffectiveAccount | undefined {
  const account = snapshot.accounts.get(name);
  if (account === undefined) return undefined;
  const groups = account.groups.map((group) => snapshot.groups.get(group));
  const known = merged.get(account);
  if (known !== undefined && groups.every((group, at) => group === known.groups[at])) return known.account;
  const fresh = { groups, account: Object.freeze(mergeAccount(account, groups)) };
  merged.set(account, fresh);
  return fresh.account;
}
