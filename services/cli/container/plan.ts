import { join } from "node:path";
import type { z } from "zod";
import { type BalancerOptions, renderBalancer } from "#balancer/template.js";
import { type MailReceiver, renderAlertmanager } from "#monitoring/alertmanager.js";
import { renderPrometheus } from "#monitoring/prometheus.js";
import type { ContainerEnvironment, NodeEnvironment } from "./environment.js";
import type { ContainerSite } from "./site-file.js";

/**
 * The shape of a site in containers: who has which address, port and directory. compose/compose.yaml says the same to the
 * engine (a test compares them).
 */
export const MEMBERS = [1, 2, 3] as const;
export const BALANCERS = [1, 2] as const;
/** Slots 4 to 6 have no container until somebody adds one; the balancers know all six, so an added node needs no reload. */
export const SLOTS = [1, 2, 3, 4, 5, 6] as const;

const FIRST = { etcd: 10, balancer: 20, node: 30 } as const;
export const MONITORING = { prometheus: 41, alertmanager: 42, grafana: 43 } as const;

export const PORT = {
  sftp: 2222,
  admin: 8080,
  agent: 8081,
  etcdClient: 2379,
  etcdPeer: 2380,
  etcdMetrics: 2381,
  balancerStats: 8404,
  balancerMetrics: 8405,
  prometheus: 9090,
  alertmanager: 9093,
} as const;

export function addressOf(net: string, kind: keyof typeof FIRST, index: number): string {
  return `${net}.${FIRST[kind] + index}`;
}

/** Where volumes are mounted in containers of the product; a directory is one volume. */
export const DIRECTORY = {
  /** The authorities' own keys: only `setup` has it. */
  authority: "/etc/longshore/authority",
  etcd: "/etc/longshore/etcd",
  node: "/etc/longshore/node",
  balancer: "/etc/longshore/balancer",
  monitoring: "/etc/longshore/monitoring",
  grafana: "/etc/longshore/grafana",
  /** What the command needs: site.json, the token, the first account's credentials. */
  site: "/etc/longshore/site",
  storage: "/srv/longshore",
  data: "/var/lib/longshore",
} as const;

/** A single node's store. */
export const EMBEDDED_STORE = join(DIRECTORY.data, "store");

export const NODE_FILES = {
  adminToken: join(DIRECTORY.node, "admin-token"),
  clusterKey: join(DIRECTORY.node, "cluster-key"),
  etcdAuthority: join(DIRECTORY.node, "etcd-ca.pem"),
  etcdCertificate: join(DIRECTORY.node, "etcd-client.pem"),
  etcdKey: join(DIRECTORY.node, "etcd-client.key"),
  /** Of the admin port: of all nodes one, so that a node that has another one is seen (drift). */
  adminAuthority: join(DIRECTORY.node, "admin-ca.pem"),
  adminCertificate: join(DIRECTORY.node, "admin.pem"),
  adminKey: join(DIRECTORY.node, "admin.key"),
} as const;

/** Certificate and key in one file, as HAProxy reads them. */
export const BALANCER_CERTIFICATE = join(DIRECTORY.balancer, "admin.pem");
export const BALANCER_AUTHORITY = join(DIRECTORY.balancer, "admin-ca.pem");
export const MONITORING_AUTHORITY = join(DIRECTORY.monitoring, "admin-ca.pem");

/** What the nodes' and the balancers' certificate of the admin API is good for: inside, and as published on the host. */
export function adminNames(net: string, kind: "node" | "balancer"): string[] {
  const indices: readonly number[] = kind === "node" ? SLOTS : BALANCERS;
  return [
    ...indices.flatMap((index) => [`DNS:${kind}-${index}`, `IP:${addressOf(net, kind, index)}`]),
    "DNS:localhost",
    "IP:127.0.0.1",
  ];
}

export const BALANCER_SCRIPT = join(DIRECTORY.balancer, "end-sessions.lua");
/** HAProxy's own directory in its container; a tmpfs. */
const BALANCER_SOCKET = "/run/haproxy/admin.sock";

export function balancerOptions({ LONGSHORE_NET: net }: ContainerEnvironment): BalancerOptions {
  const anywhere = (port: number) => ({ host: "0.0.0.0", port });
  return {
    sftp: [anywhere(PORT.sftp)],
    admin: anywhere(PORT.admin),
    adminTls: { caFile: BALANCER_AUTHORITY, certificateFile: BALANCER_CERTIFICATE },
    stats: { host: "127.0.0.1", port: PORT.balancerStats },
    metrics: anywhere(PORT.balancerMetrics),
    socket: BALANCER_SOCKET,
    script: BALANCER_SCRIPT,
    nodes: SLOTS.map((slot) => ({
      name: `node-${slot}`,
      host: addressOf(net, "node", slot),
      sftpPort: PORT.sftp,
      adminPort: PORT.admin,
      agentPort: PORT.agent,
    })),
  };
}

export function balancerConfig(env: ContainerEnvironment): string {
  return renderBalancer(balancerOptions(env));
}

/** As the containers of Prometheus and Alertmanager see them. The rules' own tests lie beside them. */
const ALERT_RULES = "/etc/longshore/alerts/longshore.yaml";
export const MAIL_PASSWORD = "/run/secrets/alert_mail_password";

export function prometheusConfig({ LONGSHORE_NET: net, LONGSHORE_SITE: site }: ContainerEnvironment): string {
  const targets = (kind: keyof typeof FIRST, indices: readonly number[], name: string, port: number) =>
    indices.map((index) => ({ name: `${name}-${index}`, host: addressOf(net, kind, index), port }));
  return renderPrometheus({
    site,
    nodes: targets("node", SLOTS, "node", PORT.admin),
    nodesTls: { caFile: MONITORING_AUTHORITY },
    balancers: targets("balancer", BALANCERS, "balancer", PORT.balancerMetrics),
    etcd: targets("etcd", MEMBERS, "etcd", PORT.etcdMetrics),
    prometheus: { host: "127.0.0.1", port: PORT.prometheus },
    alertmanager: { host: `${net}.${MONITORING.alertmanager}`, port: PORT.alertmanager },
    ruleFiles: [ALERT_RULES],
  });
}

export function alertmanagerConfig(env: ContainerEnvironment): string {
  const { LONGSHORE_ALERT_WEBHOOK_URL: webhookUrl } = env;
  const mail = mailReceiver(env);
  return renderAlertmanager({
    ...(webhookUrl === undefined ? {} : { webhookUrl }),
    ...(mail === undefined ? {} : { mail }),
  });
}

function mailReceiver(env: ContainerEnvironment): MailReceiver | undefined {
  const { LONGSHORE_ALERT_MAIL_TO: to, LONGSHORE_ALERT_MAIL_FROM: from, LONGSHORE_ALERT_MAIL_SERVER: server } = env;
  if (to === undefined || from === undefined || server === undefined) return undefined;
  const { LONGSHORE_ALERT_MAIL_USER: user } = env;
  const [host = "", port] = server.split(":");
  return {
    smtp: { host, port: Number(port) },
    from,
    to: to.split(","),
    ...(user === undefined ? {} : { login: { user, passwordFile: MAIL_PASSWORD } }),
    requireTls: env.LONGSHORE_ALERT_MAIL_TLS,
  };
}

/** The JSON that services/node/settings.ts reads. */
export function nodeSettings(env: NodeEnvironment): z.core.util.JSONType {
  const { LONGSHORE_NET: net, LONGSHORE_NODE_SLOT: slot, LONGSHORE_STORAGE: storage } = env;
  const standalone = env.LONGSHORE_STORE === "embedded";
  // Its own address, not 0.0.0.0: that is what the members list shows.
  const host = standalone ? "0.0.0.0" : addressOf(net, "node", slot);
  return {
    site: env.LONGSHORE_SITE,
    name: env.LONGSHORE_NODE_NAME,
    slot,
    dataDirectory: join(DIRECTORY.data, "node"),
    // A named volume is a disk of this host. What an operator mounts there instead may be a network's.
    storage: { path: DIRECTORY.storage, local: env.LONGSHORE_STORAGE_LOCAL ?? !storage.includes("/") },
    coordination: standalone
      ? { kind: "embedded", directory: EMBEDDED_STORE }
      : {
          kind: "etcd",
          endpoints: etcdEndpoints(net),
          tls: {
            caFile: NODE_FILES.etcdAuthority,
            certificateFile: NODE_FILES.etcdCertificate,
            keyFile: NODE_FILES.etcdKey,
          },
        },
    sftp: { host, port: PORT.sftp },
    ...(standalone ? {} : { balancers: BALANCERS.map((index) => addressOf(net, "balancer", index)) }),
    admin: {
      host,
      port: PORT.admin,
      tls: { certificateFile: NODE_FILES.adminCertificate, keyFile: NODE_FILES.adminKey },
    },
    ...(standalone ? {} : { agent: { host, port: PORT.agent } }),
    adminTokenFile: NODE_FILES.adminToken,
    clusterKeyFile: NODE_FILES.clusterKey,
    logLevel: env.LONGSHORE_LOG_LEVEL,
    drainMs: env.LONGSHORE_DRAIN_SECONDS * 1_000,
  };
}

/** By address: no name server is in the way between a node and its store. */
export function etcdEndpoints(net: string): string[] {
  return MEMBERS.map((index) => `https://${addressOf(net, "etcd", index)}:${PORT.etcdClient}`);
}

/** What the `longshore` command in a container, and its user on the host, have to know. */
export function siteFile(env: ContainerEnvironment): ContainerSite {
  const { LONGSHORE_NET: net } = env;
  const standalone = env.LONGSHORE_STORE === "embedded";
  const profiles = env.COMPOSE_PROFILES.split(",").map((text) => text.trim());
  const host = publishedHost(env);
  const loopback = (port: number) => `http://127.0.0.1:${port}`;
  const inside = (kind: "balancer" | "node", index: number) => `https://${addressOf(net, kind, index)}:${PORT.admin}`;
  const nodes = (standalone ? [1] : SLOTS).map((slot) => ({
    name: `node-${slot}`,
    sftp: { host: addressOf(net, "node", slot), port: PORT.sftp },
    adminUrl: inside("node", slot),
  }));
  const fronts = standalone
    ? [{ name: "node-1", address: addressOf(net, "node", 1), port: env.LONGSHORE_SFTP_PORT }]
    : BALANCERS.map((index) => ({
        name: `balancer-${index}`,
        address: addressOf(net, "balancer", index),
        port: index === 1 ? env.LONGSHORE_SFTP_PORT : env.LONGSHORE_SFTP_PORT_2,
      }));
  const monitored = !standalone && profiles.includes("monitoring");
  return {
    version: 1,
    site: env.LONGSHORE_SITE,
    project: env.COMPOSE_PROJECT_NAME,
    account: env.LONGSHORE_ACCOUNT,
    fronts: fronts.map(({ name, address, port }) => ({
      name,
      published: { host, port },
      inside: { host: address, port: PORT.sftp },
      ...(standalone ? {} : { metricsUrl: `http://${address}:${PORT.balancerMetrics}/metrics` }),
    })),
    adminUrl: `https://127.0.0.1:${env.LONGSHORE_ADMIN_PORT}`,
    // Each balancer, and each node should both be what is down.
    adminUrls: [
      ...(standalone ? [] : BALANCERS.map((index) => inside("balancer", index))),
      ...nodes.map(({ adminUrl }) => adminUrl),
    ],
    nodes,
    ...(standalone ? {} : { etcd: etcdEndpoints(net) }),
    monitoring: {
      ...(monitored && {
        prometheus: loopback(env.LONGSHORE_PROMETHEUS_PORT),
        alertmanager: loopback(env.LONGSHORE_ALERTMANAGER_PORT),
      }),
      ...(!standalone && profiles.includes("grafana") && { grafana: loopback(env.LONGSHORE_GRAFANA_PORT) }),
    },
    storage: env.LONGSHORE_STORAGE.includes("/")
      ? { path: env.LONGSHORE_STORAGE }
      : { volume: `${env.COMPOSE_PROJECT_NAME}_storage` },
  };
}

/** What to connect to from this host, or from anywhere where the operator said so. */
function publishedHost({ LONGSHORE_PUBLIC_HOST: given, LONGSHORE_SFTP_ADDRESS: bound }: ContainerEnvironment): string {
  if (given !== undefined) return given;
  return bound === "0.0.0.0" || bound === "::" ? "127.0.0.1" : bound;
}
