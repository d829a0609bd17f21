import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { systemCode } from "./errors.js";

/**
 * An incarnation names one life of one worker under one lease: `<node>.<host>.<pid>.<start>.<random>`, only [a-z0-9.].
 * Whoever meets its work later can tell from the name alone whether that process is certainly gone, without waiting for
 * its lease to run out.
 */
export interface IncarnationParts {
  /** First 8 hex digits of the node id. */
  readonly node: string;
  /** 8 hex digits that only processes with a comparable /proc share: boot, pid namespace, time namespace. */
  readonly host: string;
  readonly pid: number;
  /** Start of the process in clock ticks since boot (/proc/<pid>/stat, field 22): tells a reused pid apart. */
  readonly start: string;
  /** A process that lost its lease goes on under a new one: the same process, another incarnation. */
  readonly random: string;
}

/** `unknown`: another host or container, or this one doesn't let us see; only the lease can tell then. */
export type ProcessStatus = "alive" | "gone" | "unknown";

const FORM = /^([0-9a-f]{8})\.([0-9a-f]{8})\.([1-9][0-9]{0,9})\.([0-9]{1,20})\.([0-9a-f]{6})$/;

/** Splits an incarnation; undefined where it isn't one. */
export function parseIncarnation(incarnation: string): IncarnationParts | undefined {
  const match = FORM.exec(incarnation);
  if (match === null) return undefined;
  const [, node = "", host = "", pid = "", start = "", random = ""] = match;
  return { node, host, pid: Number(pid), start, random };
}

export function formatIncarnation(parts: IncarnationParts): string {
  return `${parts.node}.${parts.host}.${parts.pid}.${parts.start}.${parts.random}`;
}

/** A new incarnation of this process. `nodeId` is the node's UUID. */
export function newIncarnation(nodeId: string): string {
  const node = nodeId.replaceAll("-", "").toLowerCase().slice(0, 8);
  if (!/^[0-9a-f]{8}$/.test(node)) throw new TypeError(`a node id is a UUID, not "${nodeId}"`);
  const own = ownProcess();
  return formatIncarnation({ node, ...own, random: randomBytes(3).toString("hex") });
}

/** True where the incarnation is one of this very process. */
export function isOwnProcess(incarnation: string): boolean {
  const parts = parseIncarnation(incarnation);
  const own = ownProcess();
  return parts !== undefined && parts.host === own.host && parts.pid === own.pid && parts.start === own.start;
}

/**
 * True only where the process is certainly gone: it ran in this very pid namespace since this very boot, and no process
 * with its pid and start time is left. Not one of its system calls can still take effect on a local file system.
 */
export function isProcessGone(incarnation: string): boolean {
  return processStatus(incarnation) === "gone";
}

export function processStatus(incarnation: string): ProcessStatus {
  const parts = parseIncarnation(incarnation);
  const own = ownProcess();
  if (parts === undefined || !own.comparable || parts.host !== own.host) return "unknown";
  const stat = readStat(parts.pid);
  if (stat !== undefined) {
    if (stat.start !== parts.start) return "gone";
    if (!stat.ended) return "alive";
    // A killed leader is a zombie until its parent reaps it, but sibling threads may still be inside a system call (a
    // rename on a slow mount): gone means that no thread but the leader is left.
    return onlyLeaderLeft(parts.pid) ? "gone" : "alive";
  }
  // With hidepid, /proc shows only our own user's processes; the kernel still answers a signal.
  try {
    process.kill(parts.pid, 0);
    return "unknown";
  } catch (error) {
    return systemCode(error) === "ESRCH" ? "gone" : "unknown";
  }
}

interface OwnProcess {
  readonly host: string;
  readonly pid: number;
  readonly start: string;
  /** False where /proc is missing or shows another pid namespace: then nothing can be said of other processes. */
  readonly comparable: boolean;
}

let cached: OwnProcess | undefined;

function ownProcess(): OwnProcess {
  cached ??= readOwnProcess();
  return cached;
}

function readOwnProcess(): OwnProcess {
  try {
    const stat = readStat(process.pid);
    if (stat !== undefined && readlinkSync("/proc/self") === String(process.pid)) {
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      // Start times are seen through the reader's time namespace, so they compare within one only.
      const namespaces = ["pid", "time"].map((kind) => readNamespace(kind));
      return {
        host: shortHash([boot, ...namespaces].join("\n")),
        pid: process.pid,
        start: stat.start,
        comparable: true,
      };
    }
  } catch {
    // No Linux /proc: fall through.
  }
  return { host: randomBytes(4).toString("hex"), pid: process.pid, start: "0", comparable: false };
}

function readNamespace(kind: string): string {
  try {
    return readlinkSync(`/proc/self/ns/${kind}`);
  } catch (error) {
    if (kind === "time" && systemCode(error) === "ENOENT") return "";
    throw error;
  }
}

function readStat(pid: number): { start: string; ended: boolean } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may hold anything, spaces and parentheses too.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  const start = fields[19];
  if (state === undefined || start === undefined) return undefined;
  return { start, ended: state === "Z" || state === "X" || state === "x" };
}

function onlyLeaderLeft(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((task) => task === String(pid));
  } catch (error) {
    return systemCode(error) === "ENOENT";
  }
}

function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}
