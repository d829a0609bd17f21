import { readFileSync } from "node:fs";
import type { AdminAccess } from "./admin-client.js";
import { containerSite, type FoundSite } from "./container/site-file.js";
import { type Endpoints, readEndpoints } from "./endpoints.js";
import { CliError, EXIT, messageOf } from "./errors.js";
import { siteDirectory, siteLayout } from "./layout.js";

/** The options that say which site a command is for. */
export interface SiteOptions {
  /** Of a site that `longshore up` started. */
  readonly dir?: string;
  /** Of any other site. */
  readonly url?: string;
  readonly tokenFile?: string;
  /** Certificates (PEM) of the authorities that its https address is checked against. */
  readonly caFile?: string;
}

/** The site's endpoints.json. Throws a CliError where no site runs there. */
export function siteEndpoints(options: SiteOptions, env: NodeJS.ProcessEnv = process.env): Endpoints {
  return readEndpoints(siteLayout(siteDirectory(options.dir, env)));
}

/** The site of the container that this command runs in; undefined elsewhere, or where `--dir` names another one. */
export function ownSite(options: SiteOptions, env: NodeJS.ProcessEnv = process.env): FoundSite | undefined {
  return options.dir === undefined ? containerSite(env) : undefined;
}

/**
 * How to reach the admin API: `--url` (or LONGSHORE_URL) with a token file, else the site of this container, else the one
 * in the directory.
 */
export function adminAccess(options: SiteOptions, env: NodeJS.ProcessEnv = process.env): AdminAccess {
  const url = options.url ?? (env.LONGSHORE_URL || undefined);
  const tokenFile = options.tokenFile ?? (env.LONGSHORE_TOKEN_FILE || undefined);
  if (url !== undefined) {
    if (tokenFile === undefined) throw new CliError(EXIT.usage, "--url needs --token-file (or LONGSHORE_TOKEN_FILE)");
    return { urls: [url], token: readToken(tokenFile), ...caOf(undefined, options, env) };
  }
  const own = ownSite(options, env);
  if (own !== undefined) return containerAccess(own, options, env);
  const endpoints = siteEndpoints(options, env);
  return {
    // The site's own address first; each node's, should HAProxy be what is down.
    urls: [...new Set([endpoints.admin.url, ...endpoints.nodes.map((node) => node.adminUrl)])],
    token: readToken(tokenFile ?? endpoints.admin.tokenFile),
    ...caOf(endpoints.admin.caFile, options, env),
  };
}

/** How to reach the admin API of a site in containers from one of them. */
export function containerAccess(
  site: FoundSite,
  options: SiteOptions = {},
  env: NodeJS.ProcessEnv = process.env,
): AdminAccess {
  const tokenFile = options.tokenFile ?? (env.LONGSHORE_TOKEN_FILE || undefined);
  const token = readToken(tokenFile ?? site.tokenFile);
  return { urls: site.adminUrls, token, ...caOf(site.caFile, options, env) };
}

/** The authority that https addresses are checked against: as told, else the site's own. */
function caOf(own: string | undefined, options: SiteOptions, env: NodeJS.ProcessEnv): Pick<AdminAccess, "ca"> {
  const file = options.caFile ?? (env.LONGSHORE_CA_FILE || own);
  return file === undefined ? {} : { ca: readCa(file) };
}

function readCa(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new CliError(
      EXIT.usage,
      `the authority's certificate (--ca-file, LONGSHORE_CA_FILE) can't be read: ${messageOf(error)}`,
      error,
    );
  }
}

export function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new CliError(EXIT.denied, `the admin token can't be read: ${messageOf(error)}`, error);
  }
}
