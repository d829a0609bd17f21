import { z } from "zod";
import { type AdminAccess, AdminError, askAdmin } from "../admin-client.js";
import { CliError, EXIT } from "../errors.js";
import type { SiteLayout } from "../layout.js";
import { until } from "../wait.js";
import { accountCredentials, type Credentials, knownAccounts } from "./secrets.js";

const CONVERGED_MS = 15_000;
const writtenSchema = z.looseObject({ revision: z.int() });
const convergenceSchema = z.looseObject({ converged: z.boolean() });

/**
 * Makes the accounts that the site doesn't have yet, with new credentials, and waits until every node knows them; those
 * it has stay as they are, whatever an administrator changed since. Returns the credentials of all accounts that `up`
 * ever made here.
 */
export async function ensureAccounts(
  access: AdminAccess,
  layout: SiteLayout,
  names: readonly string[],
): Promise<Credentials[]> {
  const wanted = await Promise.all(names.map((name) => accountCredentials(layout, name)));
  const revisions = await Promise.all(wanted.map((credentials) => ensureAccount(access, credentials)));
  const newest = Math.max(0, ...revisions);
  if (newest > 0 && !(await until(() => isEverywhere(access, newest), { timeoutMs: CONVERGED_MS }))) {
    throw new CliError(EXIT.failed, `the accounts didn't reach every node within ${CONVERGED_MS / 1000} s`);
  }
  return await Promise.all(knownAccounts(layout).map((name) => accountCredentials(layout, name)));
}

/** Returns the revision of the write; 0 where there was nothing to write. */
async function ensureAccount(access: AdminAccess, credentials: Credentials): Promise<number> {
  const path = `/api/v1/accounts/${encodeURIComponent(credentials.name)}`;
  try {
    await askAdmin(access, path);
    return 0;
  } catch (error) {
    if (!(error instanceof AdminError && error.status === 404)) throw error;
  }
  const { password, publicKey } = credentials;
  const body = { password, publicKeys: [publicKey], description: "Made when the site was started first" };
  return writtenSchema.parse(await askAdmin(access, path, { method: "PUT", body })).revision;
}

async function isEverywhere(access: AdminAccess, revision: number): Promise<boolean> {
  const answer = await askAdmin(access, `/api/v1/cluster/convergence?revision=${revision}`);
  return convergenceSchema.parse(answer).converged;
}
