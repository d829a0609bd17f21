import { chownSync, mkdirSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { z } from "zod";
import { askAdmin } from "../admin-client.js";
import type { SiteEndpoints } from "../endpoints.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { readIfThere, writeAtomically } from "../files.js";
import { siteLayout } from "../layout.js";
import { containerAccess } from "../site-access.js";
import { fetchHostKeys } from "../up/host-key-scan.js";
import { accountCredentials, type Credentials, knownAccounts } from "../up/secrets.js";
import { knownHosts } from "../up/ssh.js";
import { makeFirstAccount } from "./first-account.js";
import { type FoundSite, GRAFANA_PASSWORD_FILE } from "./site-file.js";

/** A directory of the host, and what the host calls it. */
export interface HandOver {
  /** Where it is mounted in this container. */
  readonly mounted: string;
  /** Relative to where `docker compose` runs. */
  readonly onHost: string;
  /** A file of the checkout: who owns it is who asks, where the engine had to make the directory as root. */
  readonly ownerOf: string;
}

const nodesSchema = z.looseObject({ nodes: z.array(z.looseObject({ name: z.string(), id: z.string() })) });

/**
 * Writes what a partner's client on the host needs (keys, known hosts, the token) to the directory that host and container
 * share, and returns where the site is reached from the host. Throws a CliError where the site doesn't run.
 */
export async function handOver(site: FoundSite, to: HandOver): Promise<SiteEndpoints> {
  // Where no service of its own did: with a single node.
  await makeFirstAccount(site);
  const access = containerAccess(site);
  const { nodes: registered } = nodesSchema.parse(await askAdmin(access, "/api/v1/nodes"));
  const idOf = new Map(registered.map(({ name, id }) => [name, id]));
  const layout = siteLayout(site.directory);
  const credentials = await Promise.all(knownAccounts(layout).map((name) => accountCredentials(layout, name)));
  const hostKeys = await hostKeysOf(site);

  const files = new SharedDirectory(to, ["compose", site.project]);
  files.write(["admin-token"], `${access.token}\n`);
  const known = site.fronts.map(({ published }) => knownHosts(published, hostKeys)).join("");
  const knownHostsFile = files.write(["known_hosts"], known);
  const [first] = site.fronts;
  if (first === undefined)
    throw new CliError(EXIT.failed, "the site has no address for partners: is site.json damaged?");
  return {
    sftp: first.published,
    fronts: site.fronts.map(({ name, published }) => ({ name, sftp: published })),
    admin: {
      url: site.adminUrl,
      tokenFile: files.path(["admin-token"]),
      ...(access.ca === undefined ? {} : { caFile: files.write(["admin-ca.pem"], access.ca) }),
    },
    nodes: site.nodes.flatMap(({ name, sftp, adminUrl }) => {
      const id = idOf.get(name);
      if (id === undefined) return [];
      return [{ id, name, pid: null, sftpPort: sftp.port, adminUrl, metricsUrl: `${adminUrl}/metrics` }];
    }),
    ...(site.etcd === undefined ? {} : { etcd: { endpoints: site.etcd, pid: null } }),
    ...(first.metricsUrl === undefined ? {} : { haproxy: { pid: null, metricsUrl: first.metricsUrl } }),
    ...monitoringOf(site, files),
    storage: site.storage,
    accounts: credentials.map((each) => handOverAccount(each, files)),
    knownHostsFile,
    directory: files.path([]),
  };
}

function monitoringOf({ monitoring, directory }: FoundSite, files: SharedDirectory) {
  const { prometheus, alertmanager, grafana } = monitoring;
  const at = (url: string) => ({ url, pid: null });
  const password = readIfThere(join(directory, GRAFANA_PASSWORD_FILE)) ?? "";
  return {
    ...(prometheus === undefined ? {} : { prometheus: at(prometheus) }),
    ...(alertmanager === undefined ? {} : { alertmanager: at(alertmanager) }),
    ...(grafana === undefined
      ? {}
      : { grafana: { ...at(grafana), user: "admin", passwordFile: files.write([GRAFANA_PASSWORD_FILE], password) } }),
  };
}

function handOverAccount({ name, password, privateKeyFile, publicKey }: Credentials, files: SharedDirectory) {
  const key = readIfThere(privateKeyFile) ?? "";
  files.write([name, "id_ed25519.pub"], `${publicKey}\n`);
  return { name, password, privateKeyFile: files.write([name, "id_ed25519"], key) };
}

/** Every front shows the same keys: they are the cluster's. */
async function hostKeysOf(site: FoundSite): Promise<Buffer[]> {
  for (const { inside } of site.fronts) {
    const keys = await fetchHostKeys(inside);
    if (keys.length > 0) return keys;
  }
  const names = site.fronts.map(({ name }) => name).join(" or ");
  throw new CliError(EXIT.unavailable, `no SSH server answers behind ${names}: \`docker compose ps\` shows what runs`);
}

/** Files for whoever runs `docker compose` on the host, and for nobody else there. */
class SharedDirectory {
  readonly #to: HandOver;
  readonly #below: readonly string[];
  readonly #owner: { readonly uid: number; readonly gid: number };

  constructor(to: HandOver, below: readonly string[]) {
    this.#to = to;
    this.#below = below;
    this.#owner = ownerFor(to);
    for (let depth = 1; depth <= below.length; depth++) this.#makeDirectory(below.slice(0, depth));
  }

  /** As the host calls it. */
  path(parts: readonly string[]): string {
    return posix.join(this.#to.onHost, ...this.#below, ...parts);
  }

  /** Returns its path on the host. */
  write(parts: readonly string[], text: string): string {
    const directory = parts.slice(0, -1);
    if (directory.length > 0) this.#makeDirectory([...this.#below, ...directory]);
    const file = join(this.#to.mounted, ...this.#below, ...parts);
    try {
      writeAtomically(file, text);
      chownSync(file, this.#owner.uid, this.#owner.gid);
    } catch (error) {
      throw new CliError(EXIT.failed, `${this.path(parts)} can't be written: ${messageOf(error)}`, error);
    }
    return this.path(parts);
  }

  #makeDirectory(parts: readonly string[]): void {
    const directory = join(this.#to.mounted, ...parts);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    chownSync(directory, this.#owner.uid, this.#owner.gid);
  }
}

/** The engine makes a missing directory as root's; the checkout's owner is meant then. */
function ownerFor({ mounted, ownerOf }: HandOver): { uid: number; gid: number } {
  const directory = statSync(mounted);
  if (directory.uid !== 0) return { uid: directory.uid, gid: directory.gid };
  const { uid, gid } = statSync(ownerOf);
  if (uid !== 0) chownSync(mounted, uid, gid);
  return { uid, gid };
}
