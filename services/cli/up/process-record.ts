import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { readIfThere, writeJson } from "../files.js";

export const SUPERVISOR = "supervisor";

/**
 * A process that `up` started, as DIR/run/<name>.json. It outlives its supervisor, so that `down` finds what a supervisor
 * killed by -9 left behind. Pid, start time and boot together name one process for ever: a reused pid is never taken
 * for it, and so never killed.
 */
const recordSchema = z.strictObject({
  name: z.string(),
  pid: z.int().min(2),
  /** Clock ticks since boot: field 22 of /proc/<pid>/stat. */
  start: z.string(),
  boot: z.string(),
  /** How long it may take to end after SIGTERM. */
  graceMs: z.int(),
});
export type ProcessRecord = z.infer<typeof recordSchema>;

/** Undefined where the process has ended already. */
export function recordOf(name: string, pid: number, graceMs: number): ProcessRecord | undefined {
  const start = startOf(pid);
  return start === undefined ? undefined : { name, pid, start, boot: bootId(), graceMs };
}

export function isRunning(record: ProcessRecord): boolean {
  return record.boot === bootId() && startOf(record.pid) === record.start;
}

/** Sends the signal if that very process still runs; says whether it does. */
export function signalProcess(record: ProcessRecord, signal: NodeJS.Signals): boolean {
  if (!isRunning(record)) return false;
  try {
    process.kill(record.pid, signal);
    return true;
  } catch (error) {
    if (systemCode(error) === "ESRCH") return false;
    throw error;
  }
}

/** Kills the process with all that it forked: each of ours leads a process group of its own. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error;
  }
}

export function recordPath(run: string, name: string): string {
  return join(run, `${name}.json`);
}

export function writeRecord(run: string, record: ProcessRecord): void {
  writeJson(recordPath(run, record.name), record);
}

export function removeRecord(run: string, name: string): void {
  rmSync(recordPath(run, name), { force: true });
}

/** Undefined where there is no such record, or only a damaged one (the disk was full): then nothing can be told. */
export function readRecord(path: string): ProcessRecord | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return recordSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** All records but the supervisor's. */
export function readRecords(run: string): ProcessRecord[] {
  let names: string[];
  try {
    names = readdirSync(run);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(".json"))
    .map((name) => readRecord(join(run, name)))
    .filter((record) => record !== undefined)
    .filter((record) => record.name !== SUPERVISOR);
}

function startOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ended = fields[0] === "Z" || fields[0] === "X";
  return ended ? undefined : fields[19];
}

let boot: string | undefined;
function bootId(): string {
  boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  return boot;
}
