import type { Account, Site } from "#config/schema.js";

const DAY_MS = 86_400_000;

/** Why an account's life forbids this login at `now` (milliseconds since 1970), or undefined. Pure. */
export function lifeFault(
  account: Pick<Account, "expiresAt" | "passwordChangedAt">,
  site: Pick<Site, "accountLife">,
  method: "password" | "publickey",
  now: number,
): string | undefined {
  if (account.expiresAt !== undefined && Date.parse(account.expiresAt) <= now) return "the account has expired";
  const { passwordMaxAgeDays } = site.accountLife;
  if (method !== "password" || passwordMaxAgeDays === 0 || account.passwordChangedAt === undefined) return undefined;
  const due = Date.parse(account.passwordChangedAt) + passwordMaxAgeDays * DAY_MS;
  return due <= now ? "the password has expired; set a new one" : undefined;
}
