import type { Snapshot } from "#config/contract.js";
import type { Credential } from "#config/credential.js";
import { effectiveAccount } from "#config/effective.js";
import type { Account } from "#config/schema.js";
import { isDenied, mayComeFrom } from "./guard.js";
import { parsePublicKey } from "./public-keys.js";

export interface LoginFacts {
  readonly account: string;
  readonly address: string;
  /** Undefined where the login isn't told: then only the account itself counts. */
  readonly credential: Credential | undefined;
}

/**
 * Why a session that was opened by this login may not go on under this configuration; undefined: it may. `now`: the site's
 * clock, milliseconds since 1970.
 */
export function reasonToEnd(
  login: LoginFacts,
  snapshot: Pick<Snapshot, "site" | "accounts" | "groups">,
  now: number,
): string | undefined {
  const account = effectiveAccount(snapshot, login.account);
  if (account === undefined) return "the account was removed";
  if (!account.enabled) return "the account was disabled";
  if (account.expiresAt !== undefined && now >= Date.parse(account.expiresAt)) return "the account has expired";
  if (isDenied(snapshot.site.addressRules, login.address)) return "the address is denied";
  if (!mayComeFrom(account, login.address)) return "the account may no longer come from this address";
  if (login.credential?.kind === "password" && account.passwordHash !== login.credential.hash) {
    return "the password was changed";
  }
  if (login.credential?.kind === "public-key" && !hasKey(account, login.credential.blob)) return "the key was removed";
  return undefined;
}

function hasKey(account: Account, blob: string): boolean {
  const bare = blob.replace(/=+$/, "");
  // How a line is spelled nearly always: parsing all keys of all sessions at each change would cost seconds.
  if (account.publicKeys.some((line) => line.includes(bare))) return true;
  return account.publicKeys.some((line) => {
    try {
      return parsePublicKey(line).blob === blob;
    } catch {
      return false;
    }
  });
}
