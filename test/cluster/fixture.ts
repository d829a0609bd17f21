import { randomUUID } from "node:crypto";
import { after } from "node:test";
import type { Heartbeat, NodeIdentity } from "#cluster/contract.js";
import type { Coordination } from "#coordination/contract.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import type { Logger } from "#lib/logger.js";

/** A log that tests can read; silent unless a test fails and prints it. */
export interface RecordingLogger extends Logger {
  readonly lines: string[];
}

export function recordingLogger(lines: string[] = []): RecordingLogger {
  const say =
    (level: string) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
      lines.push(`${level} ${message} ${JSON.stringify(fields, (_k, v) => (v instanceof Error ? v.message : v))}`);
    };
  return {
    lines,
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    child: () => recordingLogger(lines),
  };
}

/** A connection of its own for each node, as in real life. */
export function connect(endpoints: readonly string[], site: string): Coordination {
  return createEtcdCoordination({ endpoints, site });
}

/** Timers of our own keep no process alive: without this, a test that waits for one ends as if nothing could happen. */
export function keepAwake(): void {
  const timer = setInterval(() => {}, 1_000);
  after(() => clearInterval(timer));
}

/** One etcd serves many tests: each has its own site. */
export function newSite(): string {
  return `t-${randomUUID().slice(0, 8)}`;
}

export function identity(name: string, slot: number, id: string = randomUUID()): NodeIdentity {
  return { id, name, slot, labels: {}, version: "test", addresses: {} };
}

export function heartbeat(): Heartbeat {
  return {
    state: "ready",
    reasons: [],
    revision: 0,
    hash: "",
    lagMs: 0,
    load: { sessions: 0, transfers: 0, bytesPerSecond: 0 },
  };
}
