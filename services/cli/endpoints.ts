import { z } from "zod";
import { CliError, EXIT } from "./errors.js";
import { readIfThere, writeJson } from "./files.js";
import type { SiteLayout } from "./layout.js";

const address = z.looseObject({ host: z.string(), port: z.int() });

/**
 * `endpoints.json`: where a running site is reached. Scripts read it, so a key never changes its meaning; protocols to
 * come (`ftp`, `ftps`, `https`) are added beside `sftp`. Loose: a later version's keys are no error to this one.
 */
export const endpointsSchema = z.looseObject({
  sftp: address,
  /** `url` answers while any node is up. */
  admin: z.looseObject({ url: z.string(), tokenFile: z.string() }),
  nodes: z.array(
    z.looseObject({
      id: z.string(),
      name: z.string(),
      /** Null while the node isn't running. */
      pid: z.int().nullable(),
      sftpPort: z.int(),
      adminUrl: z.string(),
      metricsUrl: z.string(),
      settingsFile: z.string(),
      logFile: z.string(),
    }),
  ),
  /** The three below are absent where they don't run (`--standalone`; Prometheus where it isn't installed). */
  etcd: z.looseObject({ endpoints: z.array(z.string()), pid: z.int().nullable() }).optional(),
  haproxy: z
    .looseObject({
      pid: z.int().nullable(),
      statsUrl: z.string(),
      metricsUrl: z.string(),
      /** The runtime API. */
      socket: z.string(),
    })
    .optional(),
  prometheus: z.looseObject({ url: z.string(), pid: z.int().nullable() }).optional(),
  storage: z.looseObject({ path: z.string() }),
  accounts: z.array(z.looseObject({ name: z.string(), password: z.string(), privateKeyFile: z.string() })),
  /** The site's host keys, for `-o UserKnownHostsFile=`. */
  knownHostsFile: z.string(),
  supervisor: z.looseObject({ pid: z.int() }),
  directory: z.string(),
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
