import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { ERROR_CODES } from "#lib/errors.js";
import { createQuotaMetrics, type QuotaMetrics } from "./quota-metrics.js";
import { createSecurityMetrics, type SecurityMetrics } from "./security-metrics.js";

export type Direction = "upload" | "download";
/** `complete`: the client has its success reply. `partial`: the bytes are kept, not committed. `unknown`: either of them. */
export const TRANSFER_OUTCOMES = ["complete", "partial", "failed", "unknown"] as const;
export type TransferOutcome = (typeof TRANSFER_OUTCOMES)[number];
/** `busy`: too many logins at once; says nothing about the credential. */
export const LOGIN_OUTCOMES = ["accepted", "refused", "busy"] as const;
export type LoginOutcome = (typeof LOGIN_OUTCOMES)[number];
export const STORE_CALLS = ["get", "list", "transact", "lease"] as const;
export type StoreCall = (typeof STORE_CALLS)[number];
const STORE_FAILURES = ["unavailable", "unknown", "error"] as const;
export type StoreOutcome = "ok" | (typeof STORE_FAILURES)[number];

/** Numbers that are read when somebody asks for the page. Each is attached by the part that knows it. */
export interface Gauges {
  /** Authenticated sessions open now. */
  readonly sessions: () => number;
  /** Partner connections open now, with and without a login. */
  readonly connections: () => { readonly authenticated: number; readonly unauthenticated: number };
  /** Transfers under way. */
  readonly transfers: () => number;
  readonly configRevision: () => number;
  /** Hash of the configuration in force, in hexadecimal digits; "" before there is one. */
  readonly configHash: () => string;
  /** How long the node has known that its configuration may be behind, in milliseconds. */
  readonly configLagMs: () => number;
  /** Whether the store holds an entry that this node can't use. */
  readonly configInvalid: () => boolean;
  /** Whether another node runs something else at the same revision. */
  readonly configMismatch: () => boolean;
  /** The certificates in force: what for, and when they end, milliseconds since 1970. */
  readonly certificates: () => readonly { readonly use: string; readonly notAfter: number }[];
  /** Seconds since the configuration on the node's own disk was last known to be current; undefined: none was kept. */
  readonly configSnapshotAge: () => number | undefined;
  /** When the site's last backup was made, in milliseconds since 1970; undefined: never, or not known. */
  readonly lastBackupAt: () => number | undefined;
  readonly leaseUsable: () => boolean;
  readonly state: () => string;
  /** The states of the nodes that live by the store's reckoning, as this node last heard. */
  readonly members: () => readonly string[];
  /** How far this node's clock is ahead of the median of all nodes' clocks, in milliseconds; negative: behind. */
  readonly clockOffsetMs: () => number;
  /** Bytes that an upload may still take; undefined: not known. */
  readonly storageFreeBytes: () => number | undefined;
  /** Of the volume; undefined: not known. */
  readonly storageSizeBytes: () => number | undefined;
  readonly storageHealthy: () => boolean;
  readonly nativeCrypto: () => boolean;
  /** Of the node's audit log; undefined before it is open. */
  readonly audit: () => AuditGauges | undefined;
  /** Whether this node coordinates the cluster, and who does as the store said last: a growing number, 0 for nobody. */
  readonly coordinator: () => { readonly holds: boolean; readonly generation: number };
  /** Whether this node is the active one, and which is as the store said last; undefined in the mode active-active. */
  readonly active: () => ActiveGauges | undefined;
}

export interface ActiveGauges {
  readonly holds: boolean;
  /** A growing number, 0 for nobody. */
  readonly generation: number;
  /** When the active node became it, in milliseconds since 1970; undefined: there is none. */
  readonly since: number | undefined;
}

export interface AuditGauges {
  /** Put on the record since the process started. */
  readonly records: number;
  /** That could not be kept. */
  readonly lost: number;
  readonly spoolBytes: number;
  readonly unshippedBytes: number;
  readonly lagMs: number;
  /** Damage found in segments, on this disk or shipped. */
  readonly chainErrors: number;
}

/**
 * The product's metrics. Never a label by account, path or address: a site has millions of them, and a page of metrics
 * is readable without a login. The one exception are folders with a quota, at most 200 of them (quota-metrics.ts).
 */
export interface Metrics {
  attach(gauges: Partial<Gauges>): void;
  connectionOpened(): void;
  /** Turned away before its protocol saw it: `reason` is one of few fixed words. */
  connectionRefused(reason: string): void;
  /** `reason` is one of few fixed words. */
  connectionClosed(reason: string): void;
  login(method: string, outcome: LoginOutcome): void;
  /** SFTP requests by name, and failures by status name; both of closed sets. */
  requests(name: string, count: number): void;
  failures(status: string, count: number): void;
  /** Bytes of the protocol's own stream. */
  streamBytes(direction: "in" | "out", count: number): void;
  bytes(direction: Direction, count: number): void;
  transferEnded(direction: Direction, outcome: TransferOutcome): void;
  /** From the last byte to the acknowledgement. */
  commitDone(seconds: number): void;
  /** `reason` is an error code (lib/errors.ts). */
  commitFailed(reason: string): void;
  /** Work of somebody else that this node finished, took over or swept away: `action` is one of few fixed words. */
  recovered(action: string, count?: number): void;
  storeCall(call: StoreCall, outcome: StoreOutcome, seconds: number): void;
  /** A request of the admin API that was refused for its token: `reason` is one of few fixed words. */
  adminRefused(reason: string): void;
  /** This node became the active one: `how` is one of few fixed words. */
  activeTaken(how: string): void;
  /** Failed logins and what follows from them. */
  readonly security: SecurityMetrics;
  readonly quotas: QuotaMetrics;
  /** Sum over all transfers so far, for the load in the heartbeat. */
  readonly totalBytes: number;
  /** The page for Prometheus. */
  render(): Promise<{ readonly contentType: string; readonly body: string }>;
  /** Stops measuring. Idempotent. */
  close(): void;
}

export interface MetricsOptions {
  readonly node: string;
  readonly version: string;
  /** What labels can say: each has its series from the start, so that the first event of its kind is a rise from zero. */
  readonly labels: {
    /** Of a node. */
    readonly states: readonly string[];
    /** `reason` of `connectionRefused`. */
    readonly refusals: readonly string[];
    /** `reason` of `connectionClosed`. */
    readonly ends: readonly string[];
    /** `name` of `requests`. */
    readonly requests: readonly string[];
    /** `status` of `failures`. */
    readonly failures: readonly string[];
    /** `action` of `recovered`. */
    readonly recoveries: readonly string[];
    /** `reason` of `adminRefused`. */
    readonly adminRefusals?: readonly string[];
    /** `reason` of `security.loginRefused`. */
    readonly loginRefusals: readonly string[];
    /** `how` of `activeTaken`. */
    readonly activeChanges?: readonly string[];
  };
}

const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Each measurement is a timer that wakes an idle process; a lag that matters is longer than this. */
const EVENT_LOOP_RESOLUTION_MS = 50;
const NANO = 1e9;
/** As many digits of a hash as a metric's value, a double, holds exactly. */
const FINGERPRINT_DIGITS = 12;

export function createMetrics(options: MetricsOptions): Metrics {
  const { labels } = options;
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: EVENT_LOOP_RESOLUTION_MS });

  const gauges: Partial<Gauges> = {};
  /** A gauge that is filled when the page is asked for. */
  const live = (name: string, help: string, labelNames: string[], fill: (gauge: Gauge<string>) => void): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        fill(this);
      },
    });
  };
  /** One without labels: absent until its part is attached, so that a zero is a measured zero. */
  const single = (name: string, help: string, read: () => number | boolean | undefined): void => {
    live(name, help, [], (gauge) => {
      const value = read();
      if (value === undefined) gauge.remove();
      else gauge.set(Number(value));
    });
  };
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers });

  new Gauge({
    name: "longshore_build_info",
    help: "1, with the version.",
    labelNames: ["node", "version"],
    registers,
  }).set({ node: options.node, version: options.version }, 1);
  live("longshore_node_state", "1 for the state that the node is in.", ["state"], (gauge) => {
    const now = gauges.state?.();
    for (const state of labels.states) gauge.set({ state }, Number(state === now));
  });
  live("longshore_members", "Living nodes as this one last heard of them.", ["state"], (gauge) => {
    const members = gauges.members?.() ?? [];
    for (const state of labels.states) gauge.set({ state }, members.filter((each) => each === state).length);
  });
  single(
    "longshore_clock_offset_seconds",
    "How far this node's clock is ahead of the median of all nodes' clocks.",
    () => {
      const offsetMs = gauges.clockOffsetMs?.();
      return offsetMs === undefined ? undefined : offsetMs / 1_000;
    },
  );
  live("longshore_connections", "Partner connections open now.", ["phase"], (gauge) => {
    const { authenticated, unauthenticated } = gauges.connections?.() ?? { authenticated: 0, unauthenticated: 0 };
    gauge.set({ phase: "authenticated" }, authenticated);
    gauge.set({ phase: "unauthenticated" }, unauthenticated);
  });
  single("longshore_sessions", "Authenticated sessions open now.", () => gauges.sessions?.());
  single("longshore_transfers_running", "Transfers under way.", () => gauges.transfers?.());
  single("longshore_config_revision", "Revision of the configuration in force.", () => gauges.configRevision?.());
  single("longshore_config_fingerprint", "The same on nodes that run the same configuration.", () => {
    const hash = gauges.configHash?.() ?? "";
    return hash === "" ? undefined : Number.parseInt(hash.slice(0, FINGERPRINT_DIGITS), 16);
  });
  single("longshore_config_lag_seconds", "How long the configuration has been known to be behind; 0: it isn't.", () => {
    const lagMs = gauges.configLagMs?.();
    return lagMs === undefined ? undefined : lagMs / 1_000;
  });
  single("longshore_config_invalid", "1 while an entry in the store can't be used.", () => gauges.configInvalid?.());
  single("longshore_config_mismatch", "1 while another node has another configuration or certificate.", () =>
    gauges.configMismatch?.(),
  );
  live(
    "longshore_certificate_expiry_timestamp_seconds",
    "When a certificate in force ends, since 1970.",
    ["use"],
    (gauge) => {
      gauge.reset();
      for (const { use, notAfter } of gauges.certificates?.() ?? []) gauge.set({ use }, notAfter / 1_000);
    },
  );
  single("longshore_config_snapshot_age_seconds", "Since the configuration kept on disk was last known current.", () =>
    gauges.configSnapshotAge?.(),
  );
  single("longshore_last_backup_timestamp_seconds", "When the site's last backup was made, since 1970.", () => {
    const at = gauges.lastBackupAt?.();
    return at === undefined ? undefined : at / 1_000;
  });
  single("longshore_lease_usable", "1 while this node may start commits.", () => gauges.leaseUsable?.());
  single("longshore_storage_free_bytes", "Free space of the shared storage.", () => gauges.storageFreeBytes?.());
  single("longshore_storage_size_bytes", "Size of the shared storage.", () => gauges.storageSizeBytes?.());
  single("longshore_storage_healthy", "1 while the shared storage can be written.", () => gauges.storageHealthy?.());
  single("longshore_native_crypto_loaded", "1 where ssh2 runs on its native ciphers.", () => gauges.nativeCrypto?.());

  single(
    "longshore_coordinator",
    "1 on the node that does the cluster's own work.",
    () => gauges.coordinator?.().holds,
  );
  single("longshore_coordinator_generation", "Of the coordinator that this node knows of; 0: none.", () => {
    return gauges.coordinator?.().generation;
  });
  single("longshore_active", "1 on the node that takes partners; absent in the mode active-active.", () => {
    return gauges.active?.()?.holds;
  });
  single("longshore_active_generation", "Of the active node that this node knows of; 0: none.", () => {
    return gauges.active?.()?.generation;
  });
  single("longshore_active_since_timestamp_seconds", "When the active node became it, since 1970.", () => {
    const since = gauges.active?.()?.since;
    return since === undefined ? undefined : since / 1_000;
  });
  const audit = (name: string, help: string, read: (figures: AuditGauges) => number) =>
    single(`longshore_audit_${name}`, help, () => {
      const figures = gauges.audit?.();
      return figures && read(figures);
    });
  audit("records", "Records on the audit log since the start.", ({ records }) => records);
  audit("lost_records", "Audit records that could not be kept, since the start.", ({ lost }) => lost);
  audit("spool_bytes", "Audit segments on the node's own disk.", ({ spoolBytes }) => spoolBytes);
  audit("unshipped_bytes", "Audit bytes not on the shared storage yet.", ({ unshippedBytes }) => unshippedBytes);
  audit("ship_lag_seconds", "How long the oldest unshipped record has waited.", ({ lagMs }) => lagMs / 1_000);
  audit("chain_errors", "Damaged audit segments found since the start.", ({ chainErrors }) => chainErrors);

  const delay = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS });
  delay.enable();
  single("longshore_event_loop_lag_seconds", "Longest event-loop delay since the page was last read.", () => {
    // The histogram measures its own timer, so a loop without delay shows the timer's period.
    const seconds = Math.max(0, delay.max / NANO - EVENT_LOOP_RESOLUTION_MS / 1_000);
    delay.reset();
    return seconds;
  });

  const opened = counter("longshore_connections_opened_total", "Partner connections taken.");
  const refused = counter("longshore_connections_refused_total", "Connections turned away at once.", ["reason"]);
  const closed = counter("longshore_connections_closed_total", "Connections ended.", ["reason"]);
  const logins = counter("longshore_logins_total", "Login attempts.", ["method", "outcome"]);
  const requests = counter("longshore_sftp_requests_total", "SFTP requests.", ["request"]);
  const failures = counter("longshore_sftp_failures_total", "SFTP status replies but OK and EOF.", ["status"]);
  const stream = counter("longshore_sftp_bytes_total", "Bytes of SFTP's own stream.", ["direction"]);
  const transfers = counter("longshore_transfers_total", "Transfers ended.", ["direction", "outcome"]);
  const transferred = counter("longshore_transfer_bytes_total", "Bytes of files moved.", ["direction"]);
  const commitErrors = counter("longshore_commit_errors_total", "Commits that failed.", ["reason"]);
  const recoveries = counter("longshore_recoveries_total", "Work of dead owners finished.", ["action"]);
  const storeErrors = counter("longshore_store_errors_total", "Failed calls to the store.", ["call", "outcome"]);
  const adminRefusals = counter("longshore_admin_refusals_total", "Admin requests refused for their token.", [
    "reason",
  ]);
  const activations = counter("longshore_active_takeovers_total", "Times that this node became the active one.", [
    "how",
  ]);
  const commits = new Histogram({
    name: "longshore_commit_seconds",
    help: "From the last byte of an upload to its acknowledgement.",
    buckets: [...LATENCY_BUCKETS, 30],
    registers,
  });
  const store = new Histogram({
    name: "longshore_store_seconds",
    help: "Calls to the coordination store.",
    labelNames: ["call"],
    buckets: LATENCY_BUCKETS,
    registers,
  });

  const fromZero = (metric: Counter<string>, label: string, values: readonly string[]): void => {
    for (const value of values) metric.inc({ [label]: value }, 0);
  };
  fromZero(refused, "reason", labels.refusals);
  fromZero(closed, "reason", labels.ends);
  fromZero(requests, "request", labels.requests);
  fromZero(failures, "status", labels.failures);
  fromZero(stream, "direction", ["in", "out"]);
  fromZero(recoveries, "action", labels.recoveries);
  fromZero(adminRefusals, "reason", labels.adminRefusals ?? []);
  fromZero(activations, "how", labels.activeChanges ?? []);
  fromZero(commitErrors, "reason", ERROR_CODES);
  for (const call of STORE_CALLS) {
    store.zero({ call });
    for (const outcome of STORE_FAILURES) storeErrors.inc({ call, outcome }, 0);
  }
  for (const direction of ["upload", "download"] as const) {
    transferred.inc({ direction }, 0);
    for (const outcome of TRANSFER_OUTCOMES) transfers.inc({ direction, outcome }, 0);
  }
  for (const method of ["password", "publickey", "keyboard-interactive"]) {
    for (const outcome of LOGIN_OUTCOMES) logins.inc({ method, outcome }, 0);
  }

  let totalBytes = 0;
  return {
    attach: (more) => void Object.assign(gauges, more),
    quotas: createQuotaMetrics(registers),
    security: createSecurityMetrics(registers, labels.loginRefusals),
    connectionOpened: () => opened.inc(),
    connectionRefused: (reason) => refused.inc({ reason }),
    connectionClosed: (reason) => closed.inc({ reason }),
    login: (method, outcome) => logins.inc({ method, outcome }),
    requests: (request, count) => requests.inc({ request }, count),
    failures: (status, count) => failures.inc({ status }, count),
    streamBytes: (direction, count) => stream.inc({ direction }, count),
    bytes(direction, count) {
      totalBytes += count;
      transferred.inc({ direction }, count);
    },
    transferEnded: (direction, outcome) => transfers.inc({ direction, outcome }),
    commitDone: (seconds) => commits.observe(seconds),
    commitFailed: (reason) => commitErrors.inc({ reason }),
    recovered: (action, count = 1) => recoveries.inc({ action }, count),
    storeCall(call, outcome, seconds) {
      store.observe({ call }, seconds);
      if (outcome !== "ok") storeErrors.inc({ call, outcome });
    },
    adminRefused: (reason) => adminRefusals.inc({ reason }),
    activeTaken: (how) => activations.inc({ how }),
    get totalBytes() {
      return totalBytes;
    },
    render: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
    close: () => delay.disable(),
  };
}
