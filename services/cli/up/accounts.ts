import { type AdminAccess, AdminError, askAdmin } from "../admin-client.js";
import type { SiteLayout } from "../layout.js";
import { accountCredentials, type Credentials, knownAccounts } from "./secrets.js";

/**
 * Makes the accounts that the site doesn't have yet, with new credentials; those it has stay as they are, whatever an
 * administrator changed since. Returns the credentials of all accounts that `up` ever made here.
 */
export async function ensureAccounts(
  access: AdminAccess,
  layout: SiteLayout,
  names: readonly string[],
): Promise<Credentials[]> {
  await Promise.all(names.map((name) => ensureAccount(access, accountCredentials(layout, name))));
  return knownAccounts(layout).map((name) => accountCredentials(layout, name));
}

async function ensureAccount(access: AdminAccess, credentials: Credentials): Promise<void> {
  const path = `/api/v1/accounts/${encodeURIComponent(credentials.name)}`;
  try {
    await askAdmin(access, path);
    return;
  } catch (error) {
    if (!(error instanceof AdminError && error.status === 404)) throw error;
  }
  await askAdmin(access, path, {
    method: "PUT",
    body: {
      password: credentials.password,
      publicKeys: [credentials.publicKey],
      description: "Made by longshore up",
    },
  });
}
