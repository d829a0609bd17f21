import { ADMIN_REFUSALS } from "#admin/principal.js";
import type { AuditSink } from "#audit/contract.js";
import { LOGIN_REFUSALS } from "#auth/security-contract.js";
import { ACTIVE_CHANGES } from "#cluster/active-decide.js";
import { NODE_STATES } from "#cluster/contract.js";
import { type CommitObserver, RECOVERIES } from "#commit/contract.js";
import type { Metrics, MetricsOptions } from "#observe/metrics.js";
import { type ConnectionObserver, END_REASONS, REFUSAL_REASONS } from "#protocols/observer.js";
import { PacketType, Status } from "#protocols/sftp/protocol.js";
import type { SftpObserver } from "#protocols/sftp/subsystem.js";
import type { TransferObserver } from "#sessions/transfer-log.js";
import { refusalRecord, transferRecord } from "./audit-observers.js";

/** Transfers under way, besides what the metrics count. */
export interface CountingTransferObserver extends TransferObserver {
  readonly running: number;
}

const REQUESTS = namesOf(PacketType);
const STATUSES = namesOf(Status);

/** Every word that the observers below can say; what a client sends that the protocol doesn't know comes on top. */
export const METRIC_LABELS: MetricsOptions["labels"] = {
  states: NODE_STATES,
  refusals: REFUSAL_REASONS,
  ends: END_REASONS,
  requests: [...REQUESTS].filter(([type]) => isRequest(type)).map(([, name]) => name),
  failures: [...STATUSES].filter(([code]) => code !== Status.OK && code !== Status.EOF).map(([, name]) => name),
  recoveries: RECOVERIES,
  adminRefusals: ADMIN_REFUSALS,
  loginRefusals: LOGIN_REFUSALS,
  activeChanges: ACTIVE_CHANGES,
};

/** Of what clients send once a session is open. */
function isRequest(type: number): boolean {
  return (type >= PacketType.OPEN && type <= PacketType.SYMLINK) || type === PacketType.EXTENDED;
}

/** What the protocols tell, as metrics. Packet types and statuses outside of the protocol share one name each. */
export function connectionObserver(metrics: Metrics): ConnectionObserver & SftpObserver {
  return {
    connectionOpened: () => metrics.connectionOpened(),
    connectionRefused: (reason) => metrics.connectionRefused(reason),
    connectionClosed: (reason) => metrics.connectionClosed(reason),
    login: (outcome, method) => metrics.login(method, outcome),
    batch({ bytesIn, bytesOut, requests, errors }) {
      metrics.streamBytes("in", bytesIn);
      metrics.streamBytes("out", bytesOut);
      for (const [type, count] of requests) metrics.requests(REQUESTS.get(type) ?? "unknown", count);
      for (const [status, count] of errors) metrics.failures(STATUSES.get(status) ?? "unknown", count);
    },
  };
}

export function transferObserver(metrics: Metrics, audit: AuditSink): CountingTransferObserver {
  let running = 0;
  return {
    refused(refused) {
      if (refused.code === "quota-exceeded") metrics.quotas.refused();
      audit.record(refusalRecord(refused));
    },
    get running() {
      return running;
    },
    opened() {
      running++;
    },
    bytes: (direction, count) => metrics.bytes(direction, count),
    ended(direction, end, about) {
      running--;
      metrics.transferEnded(direction, end);
      if (about.details.code === "quota-exceeded") metrics.quotas.refused();
      const entry = transferRecord(direction, end, about);
      if (entry !== undefined) audit.record(entry);
    },
  };
}

export function commitObserver(metrics: Metrics): CommitObserver {
  return {
    committed: (seconds) => metrics.commitDone(seconds),
    failed: (code) => metrics.commitFailed(code),
    recovered: (what) => metrics.recovered(what),
  };
}

function namesOf(codes: Readonly<Record<string, number>>): ReadonlyMap<number, string> {
  return new Map(Object.entries(codes).map(([name, code]) => [code, name.toLowerCase().replaceAll("_", "-")]));
}
