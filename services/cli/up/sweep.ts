import { rmSync } from "node:fs";
import type { SiteLayout } from "../layout.js";
import { until } from "../wait.js";
import {
  isRunning,
  killGroup,
  type ProcessRecord,
  readRecord,
  readRecords,
  recordPath,
  removeRecord,
  SUPERVISOR,
  signalProcess,
} from "./process-record.js";

/** Even SIGKILL takes a while where the process hangs in a system call. */
const KILLED_MS = 10_000;

/**
 * The order in which a site stops: nodes first, while their sessions still reach them through HAProxy and their last
 * commits still reach etcd.
 */
export function stopOrder<T extends { readonly name: string }>(processes: readonly T[]): T[][] {
  const rank = (name: string) => ["haproxy", "prometheus", "etcd"].indexOf(name);
  const ranks = [...new Set(processes.map(({ name }) => rank(name)))].sort((a, b) => a - b);
  return ranks.map((wanted) => processes.filter(({ name }) => rank(name) === wanted));
}

/** Ends one process: SIGTERM, and SIGKILL to its group once its grace is over. */
export async function endProcess(record: ProcessRecord): Promise<void> {
  if (!signalProcess(record, "SIGTERM")) return;
  // One stopped by SIGSTOP would never see the SIGTERM.
  signalProcess(record, "SIGCONT");
  const isGone = () => !isRunning(record);
  if (await until(isGone, { timeoutMs: record.graceMs })) return;
  killGroup(record.pid);
  await until(isGone, { timeoutMs: KILLED_MS });
}

/** Stops what a dead supervisor left running and removes its traces. Returns the names of what it stopped. */
export async function sweep(layout: SiteLayout): Promise<string[]> {
  const left = readRecords(layout.run);
  const running = left.filter((record) => isRunning(record));
  for (const together of stopOrder(running)) await Promise.all(together.map((record) => endProcess(record)));
  for (const { name } of left) removeRecord(layout.run, name);
  rmSync(layout.endpoints, { force: true });
  return running.map(({ name }) => name);
}

/**
 * Stops exactly what `up` started in the directory, whether its supervisor still lives or not. Returns the names of what
 * was stopped; none where nothing ran.
 */
export async function stopSite(layout: SiteLayout): Promise<string[]> {
  const supervisor = readRecord(recordPath(layout.run, SUPERVISOR));
  const supervised = supervisor !== undefined && isRunning(supervisor);
  const running = readRecords(layout.run)
    .filter((record) => isRunning(record))
    .map(({ name }) => name);
  if (supervised) await endProcess(supervisor);
  await sweep(layout);
  if (supervisor !== undefined) removeRecord(layout.run, SUPERVISOR);
  return supervised ? [SUPERVISOR, ...running] : running;
}
