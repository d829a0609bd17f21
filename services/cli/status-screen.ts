import { z } from "zod";
import { cell, printable, size, table } from "./output.js";

/** The parts of `GET /api/v1/status` that the screen shows; whatever else it says is passed on in JSON. */
const nodeSchema = z.looseObject({
  id: z.string(),
  name: z.string(),
  state: z.string(),
  reasons: z.array(z.string()).default([]),
  revision: z.number().default(0),
  hash: z.string().default(""),
  lagMs: z.number().default(0),
  version: z.string().default(""),
  load: z
    .looseObject({
      sessions: z.number().default(0),
      transfers: z.number().default(0),
      bytesPerSecond: z.number().default(0),
    })
    .prefault({}),
  certificates: z.array(z.looseObject({ use: z.string(), notAfter: z.number() })).default([]),
});
export const statusSchema = z.looseObject({
  node: z.looseObject({
    id: z.string(),
    name: z.string(),
    state: z.string(),
    reasons: z.array(z.string()).default([]),
    leaseUsable: z.boolean().default(true),
    storage: z
      .looseObject({ healthy: z.boolean(), problem: z.string().optional(), freeBytes: z.number().optional() })
      .nullish(),
  }),
  config: z.looseObject({
    revision: z.number(),
    hash: z.string().default(""),
    lagMs: z.number().default(0),
    faults: z.array(z.looseObject({ key: z.string(), path: z.string(), message: z.string() })).default([]),
    trouble: z.string().nullish(),
    otherCertificates: z.array(z.looseObject({ node: z.string(), use: z.string() })).default([]),
  }),
  /** Who holds an elected office, where the site has one. */
  coordinator: z.looseObject({ node: z.string().optional(), name: z.string().optional() }).nullish(),
  mode: z.string().nullish(),
  /** Who takes partners in the mode active-passive. */
  active: z.looseObject({ id: z.string(), name: z.string() }).nullish(),
  nodes: z.array(nodeSchema),
  clocksOff: z.array(z.looseObject({ name: z.string(), offsetMs: z.number() })).default([]),
  nodesBehindMs: z.number().default(0),
});
export type SiteStatus = z.infer<typeof statusSchema>;

/** What is heard of each node comes about once a second; older than this is worth a word. */
const OLD_MS = 5_000;
/** As the alert LongshoreCertificateExpires. */
const ENDS_SOON_DAYS = 21;
const DAY_MS = 86_400_000;

/** The site on one screen: what is up, what runs, whether the configuration is the same everywhere, what is wrong. Pure. */
export function statusScreen(status: SiteStatus): string {
  const { node, config, nodes } = status;
  const sum = (count: (load: SiteStatus["nodes"][number]["load"]) => number) =>
    nodes.reduce((total, each) => total + count(each.load), 0);
  const ready = nodes.filter(({ state }) => state === "ready").length;
  const passive = nodes.filter(({ state }) => state === "passive").length;
  const head = [
    `${counted(nodes.length, "node")}, ${ready} ready${passive === 0 ? "" : `, ${passive} passive`}`,
    counted(
      sum(({ sessions }) => sessions),
      "session",
    ),
    counted(
      sum(({ transfers }) => transfers),
      "transfer",
    ),
    `${size(sum(({ bytesPerSecond }) => bytesPerSecond))}/s`,
  ].join(", ");
  const rows = nodes.map((each) => [
    each.name,
    each.state,
    roleOf(status, each),
    cell(each.revision),
    each.lagMs > 0 ? `${(each.lagMs / 1_000).toFixed(1)} s` : "-",
    cell(each.load.sessions),
    cell(each.load.transfers),
    `${size(each.load.bytesPerSecond)}/s`,
    each.version,
    each.id,
  ]);
  const headings = ["NAME", "STATE", "ROLE", "REVISION", "LAG", "SESSIONS", "TRANSFERS", "RATE", "VERSION", "ID"];
  const faults = faultsOf(status);
  const verdict =
    faults.length === 0 ? "no faults\n" : `faults:\n${faults.map((fault) => `  ${printable(fault)}\n`).join("")}`;
  const asked = `asked ${node.name} (${node.state}), configuration revision ${config.revision}`;
  return `${head}; ${asked}\n\n${table(headings, rows)}\n${verdict}`;
}

/** In words, worst first: what an operator should look at. Pure. */
export function faultsOf(status: SiteStatus, now = Date.now()): string[] {
  const { node, config, nodes, nodesBehindMs } = status;
  const faults: string[] = [];
  if (!node.leaseUsable) faults.push(`${node.name}: no quorum of the coordination store`);
  if (node.storage?.healthy === false) faults.push(`${node.name}: storage: ${node.storage.problem ?? "not healthy"}`);
  for (const each of nodes) {
    if (each.state !== "ready" && each.state !== "passive")
      faults.push(`${each.name}: ${each.state}${because(each.reasons)}`);
  }
  if (status.mode === "active-passive" && status.active == null) {
    faults.push("no node is the active one: nobody takes partners");
  }
  if (!nodes.some(({ id }) => id === node.id)) {
    faults.push(`${node.name}: ${node.state}, isn't among the nodes that the store knows${because(node.reasons)}`);
  }
  const newest = Math.max(config.revision, ...nodes.map(({ revision }) => revision));
  for (const each of nodes) {
    if (each.revision < newest) faults.push(`${each.name}: has revision ${each.revision} in force, not ${newest}`);
    else if (each.revision === config.revision && each.hash !== config.hash) {
      faults.push(`${each.name}: has another configuration than ${node.name} at the same revision (hash mismatch)`);
    }
  }
  for (const { node: name, use } of config.otherCertificates) {
    faults.push(`${name}: has another certificate (${use}) than ${node.name} for the same names: an old file?`);
  }
  for (const each of nodes) {
    for (const { use, notAfter } of each.certificates) {
      const days = Math.floor((notAfter - now) / DAY_MS);
      if (days >= ENDS_SOON_DAYS) continue;
      const when = new Date(notAfter).toISOString().slice(0, 10);
      faults.push(`${each.name}: its certificate (${use}) ${days < 0 ? "ended on" : "ends on"} ${when}`);
    }
  }
  for (const { key, path, message } of config.faults) {
    faults.push(`${key}${path === "" ? "" : ` ${path}`}: ${message}; the last good configuration stays in force`);
  }
  if (config.trouble != null) faults.push(`${node.name}: the configuration can't be read: ${config.trouble}`);
  for (const { name, offsetMs } of status.clocksOff) {
    const seconds = Math.round(Math.abs(offsetMs) / 1_000);
    faults.push(
      `${name}: its clock is ${seconds} s ${offsetMs > 0 ? "ahead of" : "behind"} the site's: keep it by NTP`,
    );
  }
  const versions = new Set(nodes.map(({ version }) => version));
  if (versions.size > 1) faults.push(`the nodes run different versions: ${[...versions].join(", ")}`);
  if (nodesBehindMs > OLD_MS) faults.push(`the nodes were last heard of ${Math.round(nodesBehindMs / 1_000)} s ago`);
  return faults;
}

function roleOf({ coordinator, mode, active }: SiteStatus, { id, name }: SiteStatus["nodes"][number]): string {
  const holder = coordinator?.node ?? coordinator?.name;
  const coordinates = holder !== undefined && (holder === id || holder === name);
  if (mode !== "active-passive") return coordinates ? "coordinator" : "member";
  return [active?.id === id ? "active" : "passive", ...(coordinates ? ["coordinator"] : [])].join("+");
}

function because(reasons: readonly string[]): string {
  return reasons.length === 0 ? "" : ` (${reasons.join("; ")})`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
