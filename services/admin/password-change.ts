import { hashPassword, verifyPassword } from "#auth/passwords.js";
import { InvalidConfigError } from "#config/errors.js";
import type { Account } from "#config/schema.js";
import { LongshoreError } from "#lib/errors.js";

/** What stays of it where a write doesn't speak of the password. */
export function keptPasswordFields(before: PasswordFields | undefined): PasswordFields {
  if (before === undefined) return {};
  const { passwordHash, passwordChangedAt, passwordHistory } = before;
  return {
    ...(passwordHash !== undefined && { passwordHash }),
    ...(passwordChangedAt !== undefined && { passwordChangedAt }),
    ...(passwordHistory !== undefined && { passwordHistory }),
  };
}

/** What an account stores about its password. */
export type PasswordFields = Pick<Account, "passwordHash" | "passwordChangedAt" | "passwordHistory">;

/**
 * The fields for a new password: hashed, dated, with those before it remembered. Throws `InvalidConfigError` for one that
 * the account had among its last `history` ones.
 */
export async function passwordFields(
  password: string,
  before: PasswordFields | undefined,
  history: number,
  now: number,
): Promise<PasswordFields> {
  const former = [before?.passwordHash, ...(before?.passwordHistory ?? [])]
    .filter((hash): hash is string => hash !== undefined)
    .slice(0, history);
  for (const hash of former) {
    const match = await verifyPassword(hash, Buffer.from(password, "utf8"));
    if (match === "busy") throw new LongshoreError("busy", "too many logins at once to check the password: try again");
    if (match !== "match") continue;
    const message = `is one of the account's last ${history}: choose another one`;
    throw new InvalidConfigError("the account isn't valid", [{ path: "password", message }]);
  }
  return {
    passwordHash: await hashPassword(password),
    passwordChangedAt: new Date(now).toISOString(),
    ...(former.length > 0 && { passwordHistory: former }),
  };
}
