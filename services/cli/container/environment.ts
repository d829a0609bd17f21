import { isIP, isIPv4 } from "node:net";
import { z } from "zod";
import { accountNameSchema } from "#config/schema.js";
import { CliError, EXIT } from "../errors.js";

/**
 * What containers are told, by the variables that compose.yaml passes on (compose/env.example describes each). Every
 * message names the variable, since that is what its reader can change.
 */
const number = (from: number, to: number, what: string) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `must be ${what}`)
    .transform(Number)
    .refine((value) => value >= from && value <= to, `must be ${what}`);
const port = (fallback: string) => number(1, 65_535, "a port, 1 to 65535").prefault(fallback);
const MEBIBYTE = 1024 ** 2;
const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: MEBIBYTE, g: 1024 ** 3 };

/** A size as the engine takes it (`512m`), in bytes, of at least `least` MiB. */
const memory = (fallback: string, least: number) =>
  z
    .string()
    .regex(/^\d+(\.\d+)?\s*([bkmg]b?)?$/i, "must be a size such as 512m")
    .transform(sizeOf)
    .refine((bytes) => bytes >= least * MEBIBYTE, `is too little: give at least ${least}m`)
    .prefault(fallback);

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be letters, digits and -, at most 63");
const address = z.string().refine((text) => isIP(text) !== 0, "must be an address of this host, 0.0.0.0 for all");
const flag = z.enum(["true", "false"], "must be true or false").transform((text) => text === "true");

const mailAddresses = z
  .string()
  .regex(/^[^\s@,]+@[^\s@,]+(,[^\s@,]+@[^\s@,]+)*$/, "must be mail addresses, with commas between them");

export const environmentSchema = z.object({
  LONGSHORE_SITE: name.prefault("longshore"),
  /** `embedded`: one node with a store of its own. */
  LONGSHORE_STORE: z.enum(["etcd", "embedded"], "must be etcd or embedded").prefault("etcd"),
  /** The first three bytes of every container's address. */
  LONGSHORE_NET: z
    .string()
    .refine((text) => isIPv4(`${text}.0`), "must be three numbers, such as 172.31.83")
    .prefault("172.31.83"),
  LONGSHORE_SUBNET: z
    .string()
    .refine(isNetwork, "must be an IPv4 network, such as 172.31.83.0/24")
    .prefault("172.31.83.0/24"),
  LONGSHORE_SFTP_ADDRESS: address.prefault("0.0.0.0"),
  LONGSHORE_SFTP_PORT: port("2222"),
  LONGSHORE_SFTP_PORT_2: port("2223"),
  LONGSHORE_ADMIN_PORT: port("8080"),
  LONGSHORE_PROMETHEUS_PORT: port("9090"),
  LONGSHORE_ALERTMANAGER_PORT: port("9093"),
  LONGSHORE_GRAFANA_PORT: port("3000"),
  LONGSHORE_PUBLIC_HOST: z
    .string()
    .regex(/^[A-Za-z0-9.:-]+$/, "must be a host name or an address")
    .optional(),
  LONGSHORE_ACCOUNT: accountNameSchema.prefault("partner"),
  LONGSHORE_DRAIN_SECONDS: number(0, 86_400, "whole seconds, 0 to 86400").prefault("30"),
  LONGSHORE_STOP_GRACE: z
    .string()
    .regex(/^\d{1,6}s$/, "must be seconds, such as 45s")
    .transform((text) => Number(text.slice(0, -1)))
    .prefault("45s"),
  LONGSHORE_LOG_LEVEL: z
    .enum(["debug", "info", "warn", "error"], "must be debug, info, warn or error")
    .prefault("info"),
  /** The name of the volume, or a directory of the host. */
  LONGSHORE_STORAGE: z.string().prefault("storage"),
  LONGSHORE_STORAGE_LOCAL: flag.optional(),
  LONGSHORE_NODE_MEMORY: memory("512m", 192),
  LONGSHORE_ETCD_MEMORY: memory("512m", 64),
  LONGSHORE_BALANCER_MEMORY: memory("256m", 48),
  LONGSHORE_PROMETHEUS_MEMORY: memory("512m", 96),
  LONGSHORE_ALERTMANAGER_MEMORY: memory("128m", 32),
  /** Who hears of alerts; nobody but Alertmanager's page where neither is set. */
  LONGSHORE_ALERT_WEBHOOK_URL: z
    .url({ protocol: /^https?$/, error: "must be an http:// or https:// address" })
    .optional(),
  LONGSHORE_ALERT_MAIL_TO: mailAddresses.optional(),
  LONGSHORE_ALERT_MAIL_FROM: mailAddresses.optional(),
  /** The mail server. */
  LONGSHORE_ALERT_MAIL_SERVER: z
    .string()
    .regex(/^[A-Za-z0-9.-]+:\d{1,5}$/, "must be HOST:PORT of a mail server")
    .optional(),
  LONGSHORE_ALERT_MAIL_USER: z.string().optional(),
  /** False: mail also goes to a server without TLS. */
  LONGSHORE_ALERT_MAIL_TLS: flag.prefault("true"),
  COMPOSE_PROJECT_NAME: z.string().prefault("longshore"),
  COMPOSE_PROFILES: z.string().prefault(""),
});
export type ContainerEnvironment = z.infer<typeof environmentSchema>;

/** What a node's container is told besides. */
const nodeEnvironmentSchema = environmentSchema.extend({
  LONGSHORE_NODE_NAME: name,
  LONGSHORE_NODE_SLOT: number(1, 255, "a slot, 1 to 255"),
});
export type NodeEnvironment = z.infer<typeof nodeEnvironmentSchema>;

/** The stop's own time past the drain: leaving the balancer, closing sessions, shipping the log. */
const STOP_SECONDS = 10;

/** Throws a CliError with each fault, in one line. */
export function readEnvironment(env: NodeJS.ProcessEnv): ContainerEnvironment {
  const read = parse(environmentSchema, env);
  const faults = [...networkFaults(read), ...portFaults(read), ...graceFaults(read), ...mailFaults(read)];
  if (faults.length > 0) throw refusal(faults);
  return read;
}

/** Throws a CliError with each fault, in one line. */
export function readNodeEnvironment(env: NodeJS.ProcessEnv): NodeEnvironment {
  return parse(nodeEnvironmentSchema, env);
}

function parse<T>(schema: z.ZodType<T>, env: NodeJS.ProcessEnv): T {
  // Compose passes a variable that isn't set as an empty one.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  throw refusal(
    parsed.error.issues.map(({ path, message }) => {
      const variable = String(path[0]);
      const value = given[variable];
      return value === undefined ? `${variable} is missing` : `${variable}="${value}" ${message}`;
    }),
  );
}

function refusal(faults: readonly string[]): CliError {
  return new CliError(
    EXIT.settings,
    `${faults.join("; ")} (set it in .env or the environment; see compose/env.example)`,
  );
}

function networkFaults(read: ContainerEnvironment): string[] {
  if (
    holds(read.LONGSHORE_SUBNET, `${read.LONGSHORE_NET}.0`) &&
    holds(read.LONGSHORE_SUBNET, `${read.LONGSHORE_NET}.63`)
  )
    return [];
  return [
    `LONGSHORE_NET="${read.LONGSHORE_NET}" isn't in LONGSHORE_SUBNET="${read.LONGSHORE_SUBNET}": ` +
      `set both, such as ${read.LONGSHORE_NET} and ${read.LONGSHORE_NET}.0/24`,
  ];
}

/** The ports that are published, of which no two may be the same. */
function portFaults(read: ContainerEnvironment): string[] {
  const used = new Map<number, string>();
  const faults: string[] = [];
  for (const variable of PUBLISHED[read.LONGSHORE_STORE]) {
    const other = used.get(read[variable]);
    if (other !== undefined) faults.push(`${variable} and ${other} are both ${read[variable]}: give each its own port`);
    used.set(read[variable], variable);
  }
  return faults;
}

const PUBLISHED = {
  etcd: [
    "LONGSHORE_SFTP_PORT",
    "LONGSHORE_SFTP_PORT_2",
    "LONGSHORE_ADMIN_PORT",
    "LONGSHORE_PROMETHEUS_PORT",
    "LONGSHORE_ALERTMANAGER_PORT",
    "LONGSHORE_GRAFANA_PORT",
  ],
  embedded: ["LONGSHORE_SFTP_PORT", "LONGSHORE_ADMIN_PORT"],
} as const satisfies Record<ContainerEnvironment["LONGSHORE_STORE"], readonly (keyof ContainerEnvironment)[]>;

function graceFaults({ LONGSHORE_DRAIN_SECONDS: drain, LONGSHORE_STOP_GRACE: grace }: ContainerEnvironment): string[] {
  if (grace >= drain + STOP_SECONDS) return [];
  return [
    `LONGSHORE_STOP_GRACE="${grace}s" would cut LONGSHORE_DRAIN_SECONDS="${drain}" short: give at least ${drain + STOP_SECONDS}s`,
  ];
}

function mailFaults(read: ContainerEnvironment): string[] {
  if (read.LONGSHORE_ALERT_MAIL_TO === undefined) return [];
  const needed = ["LONGSHORE_ALERT_MAIL_FROM", "LONGSHORE_ALERT_MAIL_SERVER"] as const;
  return needed.flatMap((variable) =>
    read[variable] === undefined ? [`LONGSHORE_ALERT_MAIL_TO is set, so ${variable} must be, too`] : [],
  );
}

function sizeOf(text: string): number {
  const [, digits = "0", unit = ""] = /^([\d.]+)\s*([bkmg]?)/i.exec(text) ?? [];
  return Math.round(Number(digits) * (UNITS[unit.toLowerCase()] ?? 1));
}

function isNetwork(text: string): boolean {
  const [host = "", bits = "", ...rest] = text.split("/");
  return isIPv4(host) && rest.length === 0 && /^\d{1,2}$/.test(bits) && Number(bits) <= 32;
}

function holds(network: string, host: string): boolean {
  const [base = "", bits] = network.split("/");
  const size = 2 ** (32 - Number(bits));
  return Math.floor(asNumber(base) / size) === Math.floor(asNumber(host) / size);
}

function asNumber(ipv4: string): number {
  return ipv4.split(".").reduce((sum, byte) => sum * 256 + Number(byte), 0);
}
