import { z } from "zod";
import { CliError, EXIT } from "./errors.js";
import { readIfThere, writeJson } from "./files.js";
import type { SiteLayout } from "./layout.js";

const address = z.looseObject({ host: z.string(), port: z.int() });

const node = z.looseObject({
  id: z.string(),
  name: z.string(),
  /** Null while the node isn't running, and always in containers: their processes aren't the host's. */
  pid: z.int().nullable(),
  sftpPort: z.int(),
  adminUrl: z.string(),
  metricsUrl: z.string(),
});
const haproxy = z.looseObject({ pid: z.int().nullable(), statsUrl: z.string().optional(), metricsUrl: z.string() });

/**
 * Where a running site is reached, whatever it runs in. Scripts read it, so a key never changes its meaning; protocols to
 * come (`ftp`, `ftps`, `https`) are added beside `sftp`. Loose: a later version's keys are no error to this one.
 */
export const siteEndpointsSchema = z.looseObject({
  sftp: address,
  /** Each address that partners may use, where there are several: the balancers of a site in containers. */
  fronts: z.array(z.looseObject({ name: z.string(), sftp: address })).optional(),
  /** `url` answers while any node is up. */
  admin: z.looseObject({
    url: z.string(),
    tokenFile: z.string(),
    /** Where the admin ports speak HTTPS: the authority that signed their certificates, in PEM. */
    caFile: z.string().optional(),
  }),
  nodes: z.array(node),
  /** These five are absent where they don't run (`--standalone`; Prometheus where it isn't installed; profiles). */
  etcd: z.looseObject({ endpoints: z.array(z.string()), pid: z.int().nullable() }).optional(),
  haproxy: haproxy.optional(),
  prometheus: z.looseObject({ url: z.string(), pid: z.int().nullable() }).optional(),
  alertmanager: z.looseObject({ url: z.string(), pid: z.int().nullable() }).optional(),
  grafana: z
    .looseObject({ url: z.string(), pid: z.int().nullable(), user: z.string(), passwordFile: z.string() })
    .optional(),
  /** A directory of the host, or a volume of the engine. */
  storage: z.looseObject({ path: z.string().optional(), volume: z.string().optional() }),
  accounts: z.array(z.looseObject({ name: z.string(), password: z.string(), privateKeyFile: z.string() })),
  /** The site's host keys, for `-o UserKnownHostsFile=`. */
  knownHostsFile: z.string(),
  directory: z.string(),
});
export type SiteEndpoints = z.infer<typeof siteEndpointsSchema>;

/** `endpoints.json` of `longshore up`, whose processes and files are this host's. */
export const endpointsSchema = siteEndpointsSchema.extend({
  nodes: z.array(node.extend({ settingsFile: z.string(), logFile: z.string() })),
  haproxy: haproxy
    .extend({
      statsUrl: z.string(),
      /** The runtime API. */
      socket: z.string(),
    })
    .optional(),
  storage: z.looseObject({ path: z.string() }),
  supervisor: z.looseObject({ pid: z.int() }),
});
export type Endpoints = z.infer<typeof endpointsSchema>;

export function writeEndpoints(layout: SiteLayout, endpoints: Endpoints): void {
  writeJson(layout.endpoints, endpoints);
}

/** Throws a CliError where no site runs in the directory. */
export function readEndpoints(layout: SiteLayout): Endpoints {
  const text = readIfThere(layout.endpoints);
  if (text === undefined) {
    throw new CliError(
      EXIT.notFound,
      `no site is running in ${layout.root}: start one with \`longshore up\`, or name its directory with --dir`,
    );
  }
  const parsed = endpointsSchema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new CliError(EXIT.failed, `${layout.endpoints} is damaged: ${z.prettifyError(parsed.error)}`);
}
