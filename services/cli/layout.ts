import { join, resolve } from "node:path";
import type { KeyPair } from "./container/certificates.js";

export const DEFAULT_DIRECTORY = ".longshore";

/** Where a site of `longshore up` keeps what. All of it is private to the user who started it. */
export interface SiteLayout {
  readonly root: string;
  /** What `up` must remember from one run to the next (site-file.ts). */
  readonly siteFile: string;
  /** Only there while the site runs (endpoints.ts). */
  readonly endpoints: string;
  readonly knownHosts: string;
  readonly adminToken: string;
  readonly clusterKey: string;
  /** With `up --tls`: the site's authority, and the certificate of its admin ports. */
  readonly tls: {
    readonly directory: string;
    readonly authority: KeyPair;
    readonly admin: KeyPair;
    /** The same certificate and key in one file, as HAProxy reads them. */
    readonly balancer: string;
  };
  /** Credentials of the accounts that `up` made, a directory each. */
  readonly accounts: string;
  readonly storage: string;
  readonly etcd: string;
  /** The embedded store of a standalone node. */
  readonly embedded: string;
  readonly haproxy: string;
  readonly prometheus: string;
  readonly logs: string;
  /** A record of each running process (process-record.ts). */
  readonly run: string;
  node(name: string): { readonly directory: string; readonly settings: string; readonly data: string };
  log(name: string): string;
}

export function siteLayout(directory: string): SiteLayout {
  const root = resolve(directory);
  const at = (...parts: string[]) => join(root, ...parts);
  return {
    root,
    siteFile: at("site.json"),
    endpoints: at("endpoints.json"),
    knownHosts: at("known_hosts"),
    adminToken: at("secrets", "admin-token"),
    clusterKey: at("secrets", "cluster-key"),
    tls: {
      directory: at("tls"),
      authority: { certificate: at("tls", "ca.pem"), key: at("tls", "ca.key") },
      admin: { certificate: at("tls", "admin.pem"), key: at("tls", "admin.key") },
      balancer: at("tls", "balancer.pem"),
    },
    accounts: at("accounts"),
    storage: at("storage"),
    etcd: at("etcd"),
    embedded: at("embedded"),
    haproxy: at("haproxy"),
    prometheus: at("prometheus"),
    logs: at("logs"),
    run: at("run"),
    node: (name) => ({
      directory: at("nodes", name),
      settings: at("nodes", name, "settings.json"),
      data: at("nodes", name, "data"),
    }),
    log: (name) => at("logs", `${name}.log`),
  };
}

/** The site directory that a command works on: `--dir`, else LONGSHORE_DIR, else ./.longshore. */
export function siteDirectory(option: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  return resolve(option ?? (env.LONGSHORE_DIR || DEFAULT_DIRECTORY));
}
