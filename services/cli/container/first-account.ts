import { existsSync } from "node:fs";
import { join } from "node:path";
import { CliError, EXIT } from "../errors.js";
import { writeAtomically } from "../files.js";
import { siteLayout } from "../layout.js";
import { containerAccess } from "../site-access.js";
import { ensureAccounts } from "../up/accounts.js";
import { answers, until } from "../wait.js";
import type { FoundSite } from "./site-file.js";

const READY_MS = 90_000;

/**
 * Makes the first account, once in a site's life: what an administrator does with it later stays. Waits for a node that is
 * ready. Returns what was done.
 */
export async function makeFirstAccount(site: FoundSite): Promise<string> {
  const layout = siteLayout(site.directory);
  const mark = join(layout.accounts, site.account, "made");
  if (existsSync(mark)) return `the account ${site.account} was made before`;
  const access = containerAccess(site);
  let ready: string | undefined;
  const isReady = async () => {
    // The first that answers decides: a slot without a node takes its time to say nothing.
    ready = await Promise.any(site.nodes.map(({ adminUrl }) => readyOrThrow(adminUrl, access.ca))).catch(
      () => undefined,
    );
    return ready !== undefined;
  };
  if (!(await until(isReady, { timeoutMs: READY_MS, everyMs: 250 })) || ready === undefined) {
    const where = "`docker compose ps` shows the nodes, `docker compose logs node-1` what one waits for";
    throw new CliError(EXIT.unavailable, `no node was ready within ${READY_MS / 1000} s: ${where}`);
  }
  // Another node may still be starting, and would refuse a change.
  await ensureAccounts({ ...access, urls: [ready] }, layout, [site.account]);
  writeAtomically(mark, `${new Date().toISOString()}\n`);
  return `made the account ${site.account}`;
}

async function readyOrThrow(adminUrl: string, ca: string | undefined): Promise<string> {
  if (await answers(`${adminUrl}/health/ready`, ca)) return adminUrl;
  throw new Error("not ready");
}
