import type { EffectiveAccount } from "#config/effective.js";
import type { Permission } from "#config/schema.js";
import { LongshoreError } from "#lib/errors.js";
import { isWithin } from "./virtual-path.js";

/** All that counts here: an account's own rules, its groups' and its folders', as effective.ts merges them. */
type Account = Pick<EffectiveAccount, "permissions">;

/** What an account may do at a path: the rule with the longest path that holds it counts, alone. No rule: nothing. Pure. */
export function permissionsAt(account: Account, path: string): ReadonlySet<Permission> {
  let best: Account["permissions"][number] | undefined;
  for (const rule of account.permissions) {
    if (isWithin(path, rule.path) && (best === undefined || rule.path.length > best.path.length)) best = rule;
  }
  return new Set(best?.allow);
}

const VERBS: Readonly<Record<Permission, string>> = {
  list: "list files",
  read: "read files",
  write: "write files",
  overwrite: "overwrite files",
  delete: "delete files",
  rename: "rename files",
  mkdir: "make directories",
  "set-times": "change attributes",
};

/** Throws `permission-denied` with the one permission that is missing. */
export function authorize(account: Account, path: string, ...needed: readonly Permission[]): void {
  const granted = permissionsAt(account, path);
  const missing = needed.find((permission) => !granted.has(permission));
  if (missing !== undefined) {
    throw new LongshoreError("permission-denied", `this account may not ${VERBS[missing]} here`);
  }
}

/** At least one of these. */
export function authorizeAny(account: Account, path: string, ...enough: readonly Permission[]): void {
  const granted = permissionsAt(account, path);
  if (!enough.some((permission) => granted.has(permission))) {
    throw new LongshoreError("permission-denied", "this account has no access here");
  }
}
