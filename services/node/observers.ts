import type { CommitObserver } from "#commit/contract.js";
import type { Metrics } from "#observe/metrics.js";
import type { ConnectionObserver } from "#protocols/observer.js";
import { PacketType, Status } from "#protocols/sftp/protocol.js";
import type { SftpObserver } from "#protocols/sftp/subsystem.js";
import type { TransferObserver } from "#sessions/transfer-log.js";

/** Transfers under way, besides what the metrics count. */
export interface CountingTransferObserver extends TransferObserver {
  readonly running: number;
}

const REQUESTS = namesOf(PacketType);
const STATUSES = namesOf(Status);

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

export function transferObserver(metrics: Metrics): CountingTransferObserver {
  let running = 0;
  return {
    get running() {
      return running;
    },
    opened() {
      running++;
    },
    bytes: (direction, count) => metrics.bytes(direction, count),
    ended(direction, end) {
      running--;
      metrics.transferEnded(direction, end);
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
