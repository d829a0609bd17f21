import { readFileSync } from "node:fs";
import { z } from "zod";
import { renderEndSessions } from "#balancer/end-sessions.js";
import { renderBalancer } from "#balancer/template.js";
import { hostPort } from "#lib/address.js";
import { renderAlertmanager } from "#monitoring/alertmanager.js";
import { ALERT_RULES, renderPrometheus } from "#monitoring/prometheus.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { json } from "../output.js";
import { alertmanagerSchema, balancerSchema, type NodeInput, nodeSchema, prometheusSchema } from "./schemas.js";

/** What `longshore render` makes of its input: files by their name. */
export type Rendered = Readonly<Record<string, string>>;

/** More than a site of hundreds of nodes needs. Bytes. */
const MAX_INPUT = 1024 * 1024;

type Renderer = (input: unknown) => Rendered;

/** By what is rendered. */
export const RENDERERS = {
  balancer: (input) => {
    const options = read(balancerSchema, input);
    return { "haproxy.cfg": renderBalancer(options), "end-sessions.lua": renderEndSessions(options) };
  },
  prometheus: (input) => ({ "prometheus.yml": renderPrometheus(read(prometheusSchema, input)) }),
  alertmanager: (input) => ({ "alertmanager.yml": renderAlertmanager(read(alertmanagerSchema, input)) }),
  node: (input) => ({ "settings.json": json(nodeSettings(read(nodeSchema, input))) }),
} as const satisfies Record<string, Renderer>;
export type Kind = keyof typeof RENDERERS;

/** Reads `from` (`-`: standard input) and renders it. Throws a CliError that names each fault. */
export function render(kind: Kind, from: string): Rendered {
  const text = readText(from);
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    throw new CliError(EXIT.usage, `${source(from)} isn't JSON: ${messageOf(error)}`, error);
  }
  try {
    return RENDERERS[kind](input);
  } catch (error) {
    // The templates themselves refuse what their file couldn't hold.
    if (error instanceof TypeError) throw new CliError(EXIT.usage, `${source(from)}: ${error.message}`, error);
    throw error;
  }
}

/** The alert rules that belong to this version. */
export function alertRules(): Rendered {
  try {
    return { "longshore.yaml": readFileSync(ALERT_RULES, "utf8") };
  } catch (error) {
    throw new CliError(EXIT.notFound, `this installation has no alert rules: ${messageOf(error)}`, error);
  }
}

/** The JSON that services/node/settings.ts reads (a test holds the two together). */
export function nodeSettings(node: NodeInput): z.core.util.JSONType {
  const { bind: host, ports, adminTls, balancers } = node;
  return {
    site: node.site,
    name: node.name,
    slot: node.slot,
    labels: node.labels,
    dataDirectory: node.dataDirectory,
    storage: node.storage,
    coordination: {
      kind: "etcd",
      endpoints: node.etcd.map((address) => `https://${hostPort(address)}`),
      tls: node.etcdTls,
    },
    sftp: { host, port: ports.sftp },
    ...(balancers.length === 0 ? {} : { balancers }),
    admin: { host, port: ports.admin, ...(adminTls === undefined ? {} : { tls: adminTls }) },
    agent: { host, port: ports.agent },
    adminTokenFile: node.adminTokenFile,
    clusterKeyFile: node.clusterKeyFile,
    logLevel: node.logLevel,
    drainMs: node.drainSeconds * 1_000,
  };
}

function read<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${z.core.toDotPath(path) || "the input"}: ${message}`);
  throw new CliError(EXIT.usage, faults.join("; "));
}

function readText(from: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(from === "-" ? 0 : from);
  } catch (error) {
    throw new CliError(EXIT.usage, `${source(from)} can't be read: ${messageOf(error)}`, error);
  }
  if (bytes.length > MAX_INPUT) throw new CliError(EXIT.usage, `${source(from)} is larger than ${MAX_INPUT} bytes`);
  return bytes.toString("utf8");
}

const source = (from: string) => (from === "-" ? "standard input" : from);
