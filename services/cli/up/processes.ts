import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { renderEndSessions } from "#balancer/end-sessions.js";
import { makePrivateDirectory, writeAtomically, writeJson } from "../files.js";
import {
  balancerConfig,
  balancerOptions,
  DRAIN_MS,
  etcdArguments,
  HAPROXY_SCRIPT,
  nodeSettings,
  type PlannedNode,
  prometheusArguments,
  prometheusConfig,
  type SitePlan,
} from "./plan.js";
import type { ProcessSpec } from "./supervised.js";

const NODE_MAIN = fileURLToPath(new URL("../../node/main.js", import.meta.url));
/** What a node needs past its drain to close everything. */
const NODE_GRACE_MS = DRAIN_MS + 5_000;
const GRACE_MS = 5_000;

/** All the time that an orderly stop may take, one kind of process after the other. */
export const SITE_GRACE_MS = NODE_GRACE_MS + 3 * GRACE_MS + 5_000;

/** Absolute paths of the programs that aren't ours. */
export interface Programs {
  readonly etcd: string;
  readonly haproxy: string;
  readonly prometheus?: string;
}

export function etcdProcess(plan: SitePlan, program: string): ProcessSpec {
  makePrivateDirectory(plan.layout.etcd);
  return {
    name: "etcd",
    program,
    arguments: etcdArguments(plan),
    directory: plan.layout.etcd,
    // etcd takes each of its options from the environment as well; the caller's aren't meant for ours.
    env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD"))),
    logFile: plan.layout.log("etcd"),
    graceMs: GRACE_MS,
    restart: true,
  };
}

export function haproxyProcess(plan: SitePlan, program: string): ProcessSpec {
  const { layout } = plan;
  makePrivateDirectory(layout.haproxy);
  const file = join(layout.haproxy, "haproxy.cfg");
  writeAtomically(file, balancerConfig(plan));
  writeAtomically(join(layout.haproxy, HAPROXY_SCRIPT), renderEndSessions(balancerOptions(plan)));
  return {
    name: "haproxy",
    program,
    // In the foreground and as one process: it is we who watch it.
    arguments: ["-db", "-f", file],
    directory: layout.haproxy,
    env: process.env,
    logFile: layout.log("haproxy"),
    graceMs: GRACE_MS,
    restart: true,
  };
}

export function prometheusProcess(plan: SitePlan, program: string): ProcessSpec {
  const { layout } = plan;
  makePrivateDirectory(layout.prometheus);
  writeAtomically(join(layout.prometheus, "prometheus.yml"), prometheusConfig(plan));
  return {
    name: "prometheus",
    program,
    arguments: prometheusArguments(plan),
    directory: layout.prometheus,
    env: process.env,
    logFile: layout.log("prometheus"),
    graceMs: GRACE_MS,
    restart: true,
  };
}

export function nodeProcess(plan: SitePlan, node: PlannedNode): ProcessSpec {
  const { layout } = plan;
  const { settings, data, directory } = layout.node(node.name);
  makePrivateDirectory(data);
  makePrivateDirectory(layout.storage);
  writeJson(settings, nodeSettings(plan, node));
  return {
    name: node.name,
    program: process.execPath,
    arguments: [NODE_MAIN, "--config", settings],
    directory,
    env: process.env,
    logFile: layout.log(node.name),
    graceMs: NODE_GRACE_MS,
    restart: plan.restart,
  };
}
