import { hostPort as where } from "#lib/address.js";
import type { Address, BalancedNode, BalancerOptions, CheckTimings } from "./options.js";

export type { Address, AdminPortTls, BalancedNode, BalancerOptions, CheckTimings } from "./options.js";

/** Each check's timing, see CheckTimings. A killed node is down within intervalMs + (fall - 1) * doubtMs. */
export const DEFAULT_CHECKS: Required<CheckTimings> = {
  intervalMs: 500,
  doubtMs: 200,
  downMs: 250,
  fall: 3,
  rise: 1,
  timeoutMs: 500,
  agentMs: 250,
};
export const DEFAULT_MAX_CONNECTIONS = 4000;
export const DEFAULT_THREADS = 2;
export const DEFAULT_CONNECT_MS = 300;
/** A check's TLS handshake is a part of its connecting, and a busy node takes its time for one. */
export const DEFAULT_TLS_CONNECT_MS = 500;
/** An administrator waits rather than being turned away; each node is tried for so long. */
const ADMIN_TLS_CONNECT_MS = 2_000;

/** How long a node may take to accept a connection, in milliseconds. */
export function connectMsOf({ connectMs, adminTls }: Pick<BalancerOptions, "connectMs" | "adminTls">): number {
  return connectMs ?? (adminTls === undefined ? DEFAULT_CONNECT_MS : DEFAULT_TLS_CONNECT_MS);
}

/** Two for each session that moves bytes. */
const BUFFER_BYTES = 65_536;

/** 200 while the node serves its sessions, also draining or cut off: such a node must not look dead, or they would be ended. */
export const HEALTH_PATH = "/health/serving";

/**
 * The whole haproxy.cfg of a site, the same for `longshore up`, compose and Ansible; HAProxy 2.6 and 3.0 take it. Pure.
 *
 * Two things take a node out, and they mean different things:
 * - its health check fails (killed, hung, cut off for too long): DOWN, and its sessions are ended (end-sessions.ts) so that
 *   clients come back elsewhere;
 * - its agent says `drain` (draining, or cut off from the store): UP at weight 0, no new sessions, and the running ones go on.
 * Each node stands there twice: its second server, a backup without an agent, gets new sessions when no node is full any
 * more. So a site that lost its store still lets partners read, rather than nobody at all.
 *
 * Throws a TypeError where the options would make a file that HAProxy refuses or that exposes the statistics.
 */
export function renderBalancer(options: BalancerOptions): string {
  check(options);
  const sections = [
    globalSection(options),
    defaultsSection(options),
    sftpSection(options),
    ...(options.admin === undefined ? [] : [adminSection(options.admin, options)]),
    statsSection(options.stats),
    ...(options.metrics === undefined ? [] : [metricsSection(options.metrics)]),
  ];
  return `# Made by Longshore (services/balancer/template.ts). Changes are overwritten.\n\n${sections.join("\n\n")}\n`;
}

function globalSection(options: BalancerOptions): string {
  const { runAs } = options;
  return section("global", [
    `log ${options.log ?? "stdout format raw local0"}`,
    `stats socket unix@${options.socket} mode 600 level admin`,
    "stats timeout 30s",
    `maxconn ${options.maxConnections ?? DEFAULT_MAX_CONNECTIONS}`,
    `nbthread ${options.threads ?? DEFAULT_THREADS}`,
    // Ends the sessions of a node that is down.
    `lua-load ${options.script}`,
    // In pieces of 16 KiB, the default, a node pays for four times as many reads.
    `tune.bufsize ${BUFFER_BYTES}`,
    // Checks of all servers at one instant would find a busy machine busy.
    "spread-checks 5",
    // A reload leaves the old process behind with its sessions for as long as they run; a transfer may take a day.
    "hard-stop-after 25h",
    ...(runAs === undefined ? [] : [`user ${runAs.user}`, `group ${runAs.group}`]),
  ]);
}

function defaultsSection(options: BalancerOptions): string {
  return section("defaults", [
    "log global",
    "mode tcp",
    "option dontlognull",
    // A connection that a node refused or didn't answer goes to another node at its first retry, so a client notices a
    // death by a fraction of a second only.
    "option redispatch 1",
    // Downloads pass within the kernel: a quarter less of the balancer's CPU. Uploads gained nothing by it.
    "option splice-response",
    "retries 3",
    `timeout connect ${connectMsOf(options)}ms`,
    `timeout check ${{ ...DEFAULT_CHECKS, ...options.checks }.timeoutMs}ms`,
    // Idleness is the nodes' business (site setting sftp.idleTimeoutMs, at most 24 h). Vanished peers are found by TCP.
    "timeout client 25h",
    "timeout server 25h",
    "timeout tunnel 25h",
    "timeout client-fin 30s",
    "timeout server-fin 30s",
    "timeout queue 2s",
    "option clitcpka",
    "clitcpka-idle 60s",
    "clitcpka-intvl 15s",
    "clitcpka-cnt 4",
    "option srvtcpka",
    "srvtcpka-idle 60s",
    "srvtcpka-intvl 15s",
    "srvtcpka-cnt 4",
  ]);
}

function sftpSection(options: BalancerOptions): string {
  const checks = { ...DEFAULT_CHECKS, ...options.checks };
  // Only the health check speaks TLS: sessions stay as they are.
  const checked = (node: BalancedNode) => withTls("check-ssl", node, options);
  return section("listen sftp", [
    ...options.sftp.map((address) => `bind ${where(address)}`),
    `maxconn ${options.maxConnections ?? DEFAULT_MAX_CONNECTIONS}`,
    "option tcplog",
    // Sessions last from milliseconds to hours: only counting the open ones spreads them evenly.
    "balance leastconn",
    // Else the first backup would get everybody.
    "option allbackups",
    `option httpchk GET ${HEALTH_PATH}`,
    "http-check expect status 200",
    // Weight 100: the agent's answers are shares of it. Weights follow a new server at once, since `ready` is the node's
    // own word. Failed connections bring the next check forward instead of marking the server down by themselves: a
    // full listen queue is no death, and marking down ends every session there.
    [
      "default-server",
      "weight 100",
      "send-proxy-v2",
      `check inter ${checks.intervalMs}ms fastinter ${checks.doubtMs}ms downinter ${checks.downMs}ms`,
      `fall ${checks.fall} rise ${checks.rise}`,
      `agent-check agent-inter ${checks.agentMs}ms`,
      "observe layer4 error-limit 1 on-error fastinter",
    ].join(" "),
    ...options.nodes.map((node) => `${sftpServer(node, node.name)} agent-port ${node.agentPort}${checked(node)}`),
    ...options.nodes.map(
      (node) => `${sftpServer(node, `${node.name}${LAST_RESORT}`)}${checked(node)} no-agent-check backup`,
    ),
  ]);
}

/** Ends the name of a node's second server. */
export const LAST_RESORT = "-last-resort";

function sftpServer(node: BalancedNode, name: string): string {
  return `server ${name} ${where({ host: node.host, port: node.sftpPort })} port ${node.adminPort}`;
}

/** For the end of a `server` line; empty where the nodes speak HTTP in the clear. */
function withTls(word: "ssl" | "check-ssl", node: BalancedNode, { adminTls }: BalancerOptions): string {
  if (adminTls === undefined) return "";
  return ` ${word} verify required ca-file ${adminTls.caFile} verifyhost ${node.certificateName ?? node.name}`;
}

function adminSection(address: Address, options: BalancerOptions): string {
  const certificate = options.adminTls?.certificateFile;
  return section("listen admin", [
    `bind ${where(address)}${certificate === undefined ? "" : ` ssl crt ${certificate}`}`,
    "mode http",
    "option httplog",
    // A node takes the client's own address from here, from its balancers only.
    "option forwardfor",
    ...(options.adminTls === undefined ? [] : [`timeout connect ${ADMIN_TLS_CONNECT_MS}ms`]),
    "timeout http-request 10s",
    "timeout http-keep-alive 60s",
    // The first node that is up, always: an administrator then reads what was just written, without waiting for the
    // other nodes to have it too.
    "balance first",
    // Any HTTP answer will do: a drained or cut-off node can still be asked, and must be, to undrain it.
    "option httpchk GET /health/ready",
    "http-check expect rstatus .",
    "default-server check inter 1s fastinter 200ms downinter 500ms fall 2 rise 1",
    ...options.nodes.map(
      (node) =>
        `server ${node.name} ${where({ host: node.host, port: node.adminPort })}${withTls("ssl", node, options)}`,
    ),
  ]);
}

function statsSection(address: Address): string {
  return section("frontend stats", [
    `bind ${where(address)}`,
    "mode http",
    "timeout client 60s",
    "timeout http-request 5s",
    // Scrapes each few seconds would bury the sessions' lines.
    "no log",
    "http-request use-service prometheus-exporter if { path /metrics }",
    "stats enable",
    "stats uri /",
    "stats refresh 5s",
  ]);
}

function metricsSection(address: Address): string {
  return section("frontend metrics", [
    `bind ${where(address)}`,
    "mode http",
    "timeout client 60s",
    "timeout http-request 5s",
    "no log",
    "monitor-uri /health",
    // A balancer without a node has nothing to give to partners.
    "monitor fail if { nbsrv(sftp) lt 1 }",
    "http-request use-service prometheus-exporter if { path /metrics }",
    "http-request deny deny_status 404",
  ]);
}

function section(title: string, lines: readonly string[]): string {
  return [title, ...lines.map((line) => `  ${line}`)].join("\n");
}

/** Words that stay one word in HAProxy's grammar: no space, quote, comment sign, variable or line end. */
const WORD = /^[A-Za-z0-9_.:/@-]+$/;

function check(options: BalancerOptions): void {
  if (options.nodes.length === 0) throw new TypeError("a balancer needs at least one node: give `nodes`");
  if (options.sftp.length === 0) throw new TypeError("a balancer needs an address to listen at: give `sftp`");
  const names = options.nodes.map((node) => node.name);
  if (new Set(names).size !== names.length) throw new TypeError(`node names must differ: ${names.join(", ")}`);
  const { runAs, admin, adminTls, metrics } = options;
  if (admin !== undefined && adminTls !== undefined && adminTls.certificateFile === undefined) {
    throw new TypeError("an admin listener before nodes with TLS needs a certificate: give `adminTls.certificateFile`");
  }
  const others = [admin, metrics].filter((address) => address !== undefined);
  const addresses = [options.stats, ...others, ...options.sftp, ...options.nodes];
  const words = [
    options.socket,
    options.script,
    ...names,
    ...options.nodes.flatMap(({ certificateName }) => certificateName ?? []),
    ...Object.values(adminTls ?? {}),
    ...addresses.map(({ host }) => host),
    ...(runAs ? Object.values(runAs) : []),
  ];
  const odd = words.find((word) => !WORD.test(word));
  if (odd !== undefined)
    throw new TypeError(`"${odd}" can't stand in a HAProxy configuration: use letters, digits, _.:/@-`);
  if (!/^(127\.|::1$|localhost$)/.test(options.stats.host)) {
    throw new TypeError(
      `the statistics need no login, so they may listen on loopback only, not on ${options.stats.host}`,
    );
  }
}
