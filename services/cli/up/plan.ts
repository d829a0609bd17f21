import type { z } from "zod";
import { type BalancerOptions, renderBalancer } from "#balancer/template.js";
import { ALERT_RULES, renderPrometheus } from "#monitoring/prometheus.js";
import { CliError, EXIT } from "../errors.js";
import type { SiteLayout } from "../layout.js";
import { DEFAULT_BASE_PORT, DEFAULT_NODES, type UpOptions } from "./options.js";
import type { SiteFile } from "./site-file.js";

/** Everything of an evaluation site is on this address: nothing is reachable from another host. */
export const LOOPBACK = "127.0.0.1";
/** How long a node waits for running transfers when the site stops. */
export const DRAIN_MS = 10_000;
/** HAProxy runs in its own directory, so this path is never too long for a socket's address. */
export const HAPROXY_SOCKET = "haproxy.sock";
export const HAPROXY_SCRIPT = "end-sessions.lua";
export const SITE_NAME = "local";
const ETCD_NAME = "etcd-1";

export interface NodePorts {
  readonly sftp: number;
  readonly admin: number;
  readonly agent: number;
}

/** The ports of a site, all from its base port: see PURPOSES for what each one is. */
export interface SitePorts {
  readonly sftp: number;
  readonly haproxyStats: number;
  readonly admin: number;
  readonly etcdClient: number;
  readonly etcdPeer: number;
  readonly prometheus: number;
  readonly nodes: readonly NodePorts[];
}

export interface PlannedNode {
  readonly name: string;
  readonly slot: number;
  readonly ports: NodePorts;
}

/** What will run, decided from the options and the site's past alone. */
export interface SitePlan {
  readonly layout: SiteLayout;
  readonly file: SiteFile;
  readonly ports: SitePorts;
  readonly nodes: readonly PlannedNode[];
  readonly restart: boolean;
  readonly prometheus: boolean;
  readonly accounts: readonly string[];
  /** To be set; undefined: it stays as it is. */
  readonly mode: UpOptions["mode"];
}

/** The site file for this run. Throws a CliError where the directory holds a site of the other mode. */
export function decideSite(options: UpOptions, past: SiteFile | undefined): SiteFile {
  const standalone = options.standalone ?? past?.mode === "standalone";
  const mode = standalone ? "standalone" : "cluster";
  if (past !== undefined && past.mode !== mode) {
    throw new CliError(
      EXIT.usage,
      `${options.directory} holds a ${past.mode} site, whose accounts a ${mode} one wouldn't have: \`longshore ${mode === "cluster" ? "promote" : "demote"}\` takes them along, or choose another --dir`,
    );
  }
  if (standalone && (options.nodes ?? 1) !== 1) {
    throw new CliError(EXIT.usage, "a standalone site has one node: leave out --nodes or --standalone");
  }
  return {
    version: 1,
    site: past?.site ?? SITE_NAME,
    mode,
    basePort: options.basePort ?? past?.basePort ?? DEFAULT_BASE_PORT,
    nodes: standalone ? 1 : (options.nodes ?? past?.nodes ?? DEFAULT_NODES),
    tls: options.tls ?? past?.tls ?? false,
  };
}

export function planSite(options: UpOptions, file: SiteFile, layout: SiteLayout): SitePlan {
  const ports = portsOf(file);
  return {
    layout,
    file,
    ports,
    nodes: ports.nodes.map((nodePorts, index) => ({ name: `node-${index + 1}`, slot: index + 1, ports: nodePorts })),
    restart: options.restart,
    prometheus: options.prometheus && file.mode === "cluster",
    accounts: options.accounts,
    mode: options.mode,
  };
}

/** Offsets 0-9 are the site's, 10-19 those of node 1, and so on; the gaps are for protocols to come. */
export function portsOf({ basePort, nodes, mode }: Pick<SiteFile, "basePort" | "nodes" | "mode">): SitePorts {
  return {
    sftp: basePort,
    haproxyStats: basePort + 1,
    admin: basePort + 2,
    etcdClient: basePort + 3,
    etcdPeer: basePort + 4,
    prometheus: basePort + 5,
    nodes: Array.from({ length: nodes }, (_, index) => {
      const first = basePort + 10 * (index + 1);
      // A standalone node has no balancer before it: partners and administrators talk to it at the site's own ports.
      return mode === "standalone"
        ? { sftp: basePort, admin: basePort + 2, agent: first + 2 }
        : { sftp: first, admin: first + 1, agent: first + 2 };
    }),
  };
}

/** Each port that this plan binds, with what it is for, to say so when it is taken. */
export function portsToBind(plan: SitePlan): readonly { readonly port: number; readonly purpose: string }[] {
  const { ports } = plan;
  const ofNodes = plan.nodes.flatMap((node) => [
    { port: node.ports.sftp, purpose: `SFTP of ${node.name}` },
    { port: node.ports.admin, purpose: `admin API of ${node.name}` },
    { port: node.ports.agent, purpose: `balancer agent of ${node.name}` },
  ]);
  if (plan.file.mode === "standalone") return ofNodes;
  return [
    { port: ports.sftp, purpose: "SFTP" },
    { port: ports.haproxyStats, purpose: "HAProxy statistics" },
    { port: ports.admin, purpose: "admin API" },
    { port: ports.etcdClient, purpose: "etcd" },
    { port: ports.etcdPeer, purpose: "etcd peers" },
    ...(plan.prometheus ? [{ port: ports.prometheus, purpose: "Prometheus" }] : []),
    ...ofNodes,
  ];
}

/** The JSON that services/node/settings.ts reads. */
export function nodeSettings(plan: SitePlan, node: PlannedNode): z.core.util.JSONType {
  const { layout, file } = plan;
  const standalone = file.mode === "standalone";
  return {
    site: file.site,
    name: node.name,
    slot: node.slot,
    dataDirectory: layout.node(node.name).data,
    storage: { path: layout.storage, local: true },
    coordination: standalone
      ? { kind: "embedded", directory: layout.embedded }
      : { kind: "etcd", endpoints: [etcdUrl(plan)] },
    sftp: { host: LOOPBACK, port: node.ports.sftp },
    // HAProxy connects from any address of the loopback network; nobody else can.
    ...(standalone ? {} : { balancers: ["127.0.0.0/8"] }),
    admin: {
      host: LOOPBACK,
      port: node.ports.admin,
      ...(file.tls && {
        tls: { certificateFile: layout.tls.admin.certificate, keyFile: layout.tls.admin.key },
      }),
    },
    agent: { host: LOOPBACK, port: node.ports.agent },
    adminTokenFile: layout.adminToken,
    clusterKeyFile: layout.clusterKey,
    drainMs: DRAIN_MS,
  };
}

export function balancerOptions(plan: SitePlan): BalancerOptions {
  const at = (port: number) => ({ host: LOOPBACK, port });
  return {
    sftp: [at(plan.ports.sftp)],
    admin: at(plan.ports.admin),
    ...(plan.file.tls && {
      adminTls: { caFile: plan.layout.tls.authority.certificate, certificateFile: plan.layout.tls.balancer },
    }),
    stats: at(plan.ports.haproxyStats),
    socket: HAPROXY_SOCKET,
    script: HAPROXY_SCRIPT,
    nodes: plan.nodes.map((node) => ({
      name: node.name,
      host: LOOPBACK,
      sftpPort: node.ports.sftp,
      adminPort: node.ports.admin,
      agentPort: node.ports.agent,
    })),
  };
}

export function balancerConfig(plan: SitePlan): string {
  return renderBalancer(balancerOptions(plan));
}

/** The base of an admin port's addresses, the balancer's and the nodes'. */
export function adminUrl(plan: SitePlan, port: number): string {
  return `${plan.file.tls ? "https" : "http"}://${LOOPBACK}:${port}`;
}

export function etcdUrl(plan: SitePlan): string {
  return `http://${LOOPBACK}:${plan.ports.etcdClient}`;
}

export function etcdArguments(plan: SitePlan): string[] {
  const peer = `http://${LOOPBACK}:${plan.ports.etcdPeer}`;
  return [
    `--name=${ETCD_NAME}`,
    `--data-dir=${plan.layout.etcd}`,
    `--listen-client-urls=${etcdUrl(plan)}`,
    `--advertise-client-urls=${etcdUrl(plan)}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=${ETCD_NAME}=${peer}`,
    // A group of commits is one transaction, and larger than the default of 128 operations.
    "--max-txn-ops=1024",
    "--election-timeout=1000",
    "--heartbeat-interval=100",
    // Each commit makes revisions that nobody asks for again.
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=10m",
    "--logger=zap",
    "--log-outputs=stderr",
  ];
}

export function prometheusConfig(plan: SitePlan): string {
  const at = (name: string, port: number) => ({ name, host: LOOPBACK, port });
  return renderPrometheus({
    site: plan.file.site,
    nodes: plan.nodes.map((node) => at(node.name, node.ports.admin)),
    ...(plan.file.tls && { nodesTls: { caFile: plan.layout.tls.authority.certificate } }),
    balancers: [at("haproxy", plan.ports.haproxyStats)],
    etcd: [at(ETCD_NAME, plan.ports.etcdClient)],
    prometheus: { host: LOOPBACK, port: plan.ports.prometheus },
    ruleFiles: [ALERT_RULES],
  });
}

export function prometheusArguments(plan: SitePlan): string[] {
  return [
    `--config.file=${plan.layout.prometheus}/prometheus.yml`,
    `--storage.tsdb.path=${plan.layout.prometheus}/data`,
    "--storage.tsdb.retention.time=7d",
    `--web.listen-address=${LOOPBACK}:${plan.ports.prometheus}`,
  ];
}
