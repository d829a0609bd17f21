import { readdirSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "#lib/errors.js";
import { type AdminAccess, askAdmin } from "../admin-client.js";
import { PORT } from "../container/plan.js";
import type { FoundSite } from "../container/site-file.js";
import type { Endpoints } from "../endpoints.js";
import { siteDirectory, siteLayout } from "../layout.js";
import { adminAccess, containerAccess, ownSite, type SiteOptions, siteEndpoints } from "../site-access.js";
import { nodeStatusSchema } from "./facts.js";
import type { Patient } from "./gather.js";

/** `compose up` starts so many; the other slots are empty until somebody adds a node. */
const FIRST_NODES = 3;

/** The site that the options name, with everything about it that can be looked at. Throws a CliError where there is none. */
export async function findPatient(options: SiteOptions, env: NodeJS.ProcessEnv = process.env): Promise<Patient> {
  if (options.url !== undefined || (env.LONGSHORE_URL ?? "") !== "") return remotePatient(options, env);
  const own = ownSite(options, env);
  if (own !== undefined) return containerPatient(own, containerAccess(own, options, env));
  return localPatient(siteEndpoints(options, env), siteDirectory(options.dir, env), adminAccess(options, env));
}

/** A site of `longshore up`. */
function localPatient(endpoints: Endpoints, directory: string, access: AdminAccess): Patient {
  const { sftp, haproxy, etcd } = endpoints;
  const layout = siteLayout(directory);
  return {
    ...credentialsOf(access),
    nodes: endpoints.nodes.map(({ name, adminUrl }) => ({ name, adminUrl, expected: true })),
    fronts: [{ name: haproxy === undefined ? "node-1" : "haproxy", address: sftp }],
    admins: haproxy === undefined ? [] : [{ name: "haproxy", url: endpoints.admin.url }],
    balancers: haproxy === undefined ? [] : [{ name: "haproxy", metricsUrl: haproxy.metricsUrl }],
    members: (etcd?.endpoints ?? []).map((url) => ({ name: "etcd", healthUrl: `${url}/health` })),
    secrets: [
      layout.root,
      layout.endpoints,
      layout.adminToken,
      layout.clusterKey,
      ...allBelow(layout.accounts),
      ...allBelow(layout.tls.directory),
    ],
  };
}

function containerPatient(site: FoundSite, access: AdminAccess): Patient {
  return {
    ...credentialsOf(access),
    nodes: site.nodes.map(({ name, adminUrl }, index) => ({ name, adminUrl, expected: index < FIRST_NODES })),
    fronts: site.fronts.map(({ name, inside }) => ({ name, address: inside })),
    admins:
      site.etcd === undefined
        ? []
        : site.fronts.flatMap(({ name }, index) => {
            const url = site.adminUrls[index];
            return url === undefined ? [] : [{ name, url }];
          }),
    balancers: site.fronts.flatMap(({ name, metricsUrl }) => (metricsUrl === undefined ? [] : [{ name, metricsUrl }])),
    members: (site.etcd ?? []).map((url, index) => ({
      name: `etcd-${index + 1}`,
      // Health is at the port for metrics, which wants no certificate.
      healthUrl: `http://${new URL(url).hostname}:${PORT.etcdMetrics}/health`,
    })),
    secrets: [site.tokenFile, ...allBelow(siteLayout(site.directory).accounts)],
  };
}

/** A site of which only the admin API is known: the nodes that it names. */
async function remotePatient(options: SiteOptions, env: NodeJS.ProcessEnv): Promise<Patient> {
  const access = adminAccess(options, env);
  // Nodes tell host and port; all of a site speak the same.
  const scheme = new URL(access.urls[0] ?? "http:").protocol;
  const { nodes } = nodeStatusSchema.parse(await askAdmin(access, "/api/v1/status"));
  return {
    ...credentialsOf(access),
    nodes: nodes.map(({ name, addresses }) => ({ name, adminUrl: `${scheme}//${addresses.admin}`, expected: true })),
    fronts: [],
    admins: [],
    balancers: [],
    members: [],
    secrets: [(options.tokenFile ?? env.LONGSHORE_TOKEN_FILE) || ""].filter((path) => path !== ""),
  };
}

function credentialsOf({ token, ca }: AdminAccess): Pick<Patient, "token" | "ca"> {
  return { token, ...(ca === undefined ? {} : { ca }) };
}

/** Directories and files, but for public keys. */
function allBelow(directory: string): string[] {
  try {
    const below = readdirSync(directory, { recursive: true, encoding: "utf8" });
    return [directory, ...below.map((path) => join(directory, path))].filter((path) => !path.endsWith(".pub"));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}
