import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { z } from "zod";

/**
 * What one node is told by whoever starts it (`longshore up`, compose, Ansible): where things are. Everything that a site
 * shares is in the store instead (config/schema.ts). A JSON file, named on the command line: `longshore-node --config FILE`.
 */
const port = z.int().min(1).max(65_535);
const address = z.strictObject({ host: z.string().min(1), port });
const file = z.string().min(1);
/** `192.0.2.0/24`, `2001:db8::/32`, or one address. */
const network = z.string().refine((text) => {
  const [host = "", bits, ...rest] = text.split("/");
  const version = isIP(host);
  if (version === 0 || rest.length > 0) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}, "an address or a network such as 192.0.2.0/24");

export const nodeSettingsSchema = z.strictObject({
  /** The site's name: the store's key prefix. */
  site: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  /** FTP passive range and the like; unique in the site. */
  slot: z.int().min(1).max(255),
  labels: z.record(z.string(), z.string()).default({}),
  /** This node's own disk: its id, and what it can lose. */
  dataDirectory: file,
  /** The root of the shared storage. */
  storage: z.strictObject({
    path: file,
    /** True where the storage is a disk of this host (no other host writes to it): cheaper calls and take-overs. */
    local: z.boolean().default(false),
  }),
  coordination: z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("etcd"),
      endpoints: z.array(z.string()).min(1),
      tls: z.strictObject({ caFile: file, certificateFile: file, keyFile: file }).optional(),
    }),
    z.strictObject({ kind: z.literal("embedded"), directory: file }),
  ]),
  /** The partner-facing listener. */
  sftp: address,
  /** PROXY protocol v2 is required from these addresses (CIDR) and nobody else may connect; absent: plain connections. */
  balancers: z.array(network).min(1).optional(),
  /** Health, metrics and the admin API; over HTTPS where `tls` is given. Its files are read again when they change. */
  admin: address.extend({ tls: z.strictObject({ certificateFile: file, keyFile: file }).optional() }),
  /** The balancer's agent check (`ready`, `drain`, weight). */
  agent: address.optional(),
  /** The admin API's bearer token. */
  adminTokenFile: file,
  /** 32 bytes, base64: seals secrets in the store. Never in the store itself. */
  clusterKeyFile: file,
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
  /** How long SIGTERM waits for running transfers. */
  drainMs: z.int().min(0).default(30_000),
});
export type NodeSettings = z.infer<typeof nodeSettingsSchema>;

/** Reads and checks the settings. Throws an Error whose message names each faulty field. */
export function readNodeSettings(path: string): NodeSettings {
  const parsed = nodeSettingsSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
  if (parsed.success) return parsed.data;
  throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
}
