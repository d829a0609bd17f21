import { isIP } from "node:net";
import { z } from "zod";

/**
 * What `longshore render` takes: the options of the product's own templates, as whoever installs a site (Ansible) knows
 * them. Strict: a misspelt name is an error, not a setting that does nothing.
 */
const MAX_ENTRIES = 256;

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, "must be letters, digits and . _ -, at most 63");
const host = z.string().regex(/^[A-Za-z0-9.:_-]{1,253}$/, "must be a host name or an address");
const port = z.int().min(1).max(65_535);
const path = z.string().regex(/^\/[^\0\n]{1,4000}$/, "must be an absolute path");
const milliseconds = z.int().min(1).max(3_600_000);
const address = z.strictObject({ host, port });
const named = z.strictObject({ name, host, port });
const list = <T extends z.ZodType>(entry: T) => z.array(entry).max(MAX_ENTRIES);

const checks = z.strictObject({
  intervalMs: milliseconds.exactOptional(),
  doubtMs: milliseconds.exactOptional(),
  downMs: milliseconds.exactOptional(),
  fall: z.int().min(1).max(100).exactOptional(),
  rise: z.int().min(1).max(100).exactOptional(),
  timeoutMs: milliseconds.exactOptional(),
  agentMs: milliseconds.exactOptional(),
});

/** services/balancer/options.ts says what each means. */
export const balancerSchema = z.strictObject({
  sftp: list(address).min(1),
  nodes: list(
    z.strictObject({
      name,
      host,
      sftpPort: port,
      adminPort: port,
      agentPort: port,
      certificateName: name.exactOptional(),
    }),
  ).min(1),
  admin: address.exactOptional(),
  adminTls: z.strictObject({ caFile: path, certificateFile: path.exactOptional() }).exactOptional(),
  stats: address,
  metrics: address.exactOptional(),
  socket: path,
  script: path,
  maxConnections: z.int().min(1).max(1_000_000).exactOptional(),
  threads: z.int().min(1).max(64).exactOptional(),
  runAs: z.strictObject({ user: name, group: name }).exactOptional(),
  checks: checks.exactOptional(),
  connectMs: milliseconds.exactOptional(),
});

/** services/monitoring/prometheus.ts says what each means. */
export const prometheusSchema = z.strictObject({
  site: name,
  nodes: list(named),
  nodesTls: z.strictObject({ caFile: path, serverName: host.exactOptional() }).exactOptional(),
  balancers: list(named),
  etcd: list(named),
  prometheus: address,
  alertmanager: address.exactOptional(),
  ruleFiles: list(path),
});

const text = z.string().min(1).max(1_000);

/** services/monitoring/alertmanager.ts says what each means. */
export const alertmanagerSchema = z.strictObject({
  webhookUrl: text.exactOptional(),
  mail: z
    .strictObject({
      smtp: address,
      from: text,
      to: list(text).min(1),
      login: z.strictObject({ user: text, passwordFile: path }).exactOptional(),
      requireTls: z.boolean().exactOptional(),
    })
    .exactOptional(),
});

const siteName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be a-z, 0-9 and -, at most 63");

/** One node of a site on machines: node.ts makes its settings file of it. */
export const nodeSchema = z.strictObject({
  site: siteName,
  name: siteName,
  slot: z.int().min(1).max(255),
  labels: z.record(z.string(), z.string()).default({}),
  /** Where it listens: an address of the machine, `0.0.0.0` or `::` for all. */
  bind: z.string().refine((given) => isIP(given) !== 0, "must be an address of the machine, or :: for all"),
  ports: z.strictObject({ sftp: port, admin: port, agent: port }),
  /** Only these may connect to its SFTP port, with PROXY protocol; empty: anybody, without it. */
  balancers: list(z.string().refine((given) => isIP(given.split("/")[0] ?? "") !== 0, "must be addresses or networks")),
  etcd: list(address).min(1),
  etcdTls: z.strictObject({ caFile: path, certificateFile: path, keyFile: path }),
  /** Absent: the admin port speaks HTTP in the clear. */
  adminTls: z.strictObject({ certificateFile: path, keyFile: path }).exactOptional(),
  adminTokenFile: path,
  clusterKeyFile: path,
  storage: z.strictObject({ path, local: z.boolean().default(false) }),
  dataDirectory: path,
  drainSeconds: z.int().min(0).max(86_400),
  logLevel: z.enum(["debug", "info", "warn", "error"]),
});
export type NodeInput = z.infer<typeof nodeSchema>;
