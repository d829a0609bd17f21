import type { Address } from "#lib/address.js";

export type { Address } from "#lib/address.js";

/** One transfer node as the balancer sees it. */
export interface BalancedNode {
  /** The server's name in HAProxy, its metrics and its logs: the node's own name. */
  readonly name: string;
  /** The address that the balancer reaches the node at. */
  readonly host: string;
  /** Takes PROXY protocol v2 before the SSH banner. */
  readonly sftpPort: number;
  /** Answers `GET /health/serving`; serves the admin API. */
  readonly adminPort: number;
  /** HAProxy's agent protocol: `ready`, or `drain` for no new sessions. */
  readonly agentPort: number;
  /** With `adminTls`: the DNS name in the node's certificate. HAProxy compares names only, no addresses. Default: `name`. */
  readonly certificateName?: string;
}

/** The nodes' admin ports speak TLS. Paths as HAProxy sees them, or relative to its directory. */
export interface AdminPortTls {
  /** Certificates (PEM) of the authorities that may have signed a node's certificate. */
  readonly caFile: string;
  /**
   * The `admin` listener's own certificate with its chain and its key in one PEM file. Required where there is such a
   * listener: a token must not pass in the clear what it passed encrypted before. HAProxy reads it when it starts.
   */
  readonly certificateFile?: string;
}

/** How fast the balancer notices. All in milliseconds, but for the counts. */
export interface CheckTimings {
  /** Between checks of a healthy server. Default 500. */
  readonly intervalMs?: number;
  /** Between checks once one has failed, or traffic says that something is wrong. Default 200. */
  readonly doubtMs?: number;
  /** Between checks of a server that is down: how soon a restarted node is back. Default 250. */
  readonly downMs?: number;
  /** Failed checks in a row until the server is down and its sessions are ended. Default 3. */
  readonly fall?: number;
  /** Good checks in a row until it is back. Default 1: a node says for itself when it is ready. */
  readonly rise?: number;
  /** How long a check waits for its answer. Default 500. */
  readonly timeoutMs?: number;
  /** Between questions to the agent: how soon a drain is in force. Default 250. */
  readonly agentMs?: number;
}

/** What `renderBalancer` makes a configuration of. */
export interface BalancerOptions {
  /** The partners' addresses: one, or several (IPv4 and IPv6). */
  readonly sftp: readonly Address[];
  readonly nodes: readonly BalancedNode[];
  /** The admin API of whichever node is up, at one address. Absent: no such listener. */
  readonly admin?: Address;
  /** Absent: the nodes' admin ports and the `admin` listener speak HTTP in the clear. */
  readonly adminTls?: AdminPortTls;
  /** Statistics page (`/`) and Prometheus metrics (`/metrics`), without a login: must be a loopback address. */
  readonly stats: Address;
  /**
   * Prometheus metrics (`/metrics`) and the balancer's own health (`/health`: 200 while any node takes sessions), and nothing
   * else: may be any address that partners don't reach. Absent: no such listener.
   */
  readonly metrics?: Address;
  /** The runtime API's socket, for the operator and the tests; only its owner may use it. Relative to HAProxy's directory. */
  readonly socket: string;
  /** Where HAProxy finds what `renderEndSessions` made (end-sessions.ts). Relative to HAProxy's directory, too. */
  readonly script: string;
  /** Sessions at a time; each takes two file descriptors. Default 4000. */
  readonly maxConnections?: number;
  /** Default 2: one carries several GB/s of TCP; the nodes need the cores more. */
  readonly threads?: number;
  /** Where log lines go, as `log` takes it. Default `stdout format raw local0`. */
  readonly log?: string;
  /** The user and group that a HAProxy started as root becomes. Absent: it stays who it is. */
  readonly runAs?: { readonly user: string; readonly group: string };
  readonly checks?: CheckTimings;
  /** Waiting for a node to accept a connection before the next one is tried. Default 300 ms; with `adminTls` 500. */
  readonly connectMs?: number;
}
