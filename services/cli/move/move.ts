import { existsSync, renameSync, rmSync } from "node:fs";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { CliError, EXIT } from "../errors.js";
import { readIfThere, writeJson } from "../files.js";
import type { SiteLayout } from "../layout.js";
import { lockDirectory, unlockDirectory } from "../up/lock.js";
import { DEFAULT_ACCOUNT, type UpOptions } from "../up/options.js";
import { etcdUrl, planSite, portsToBind, type SitePlan } from "../up/plan.js";
import { firstTaken, portTaken } from "../up/ports.js";
import { isRunning, readRecord, recordPath, SUPERVISOR } from "../up/process-record.js";
import { etcdProcess, type Programs, SITE_GRACE_MS } from "../up/processes.js";
import type { Report } from "../up/report.js";
import { knownAccounts } from "../up/secrets.js";
import { readSiteFile, type SiteFile } from "../up/site-file.js";
import { SupervisedProcess } from "../up/supervised.js";
import { startInBackground } from "../up/supervisor.js";
import { stopSite, sweep } from "../up/sweep.js";
import { answers, until } from "../wait.js";
import { copyStore } from "./copy.js";
import { commandTo, type Journal, journalSchema, type Mode, type MovePlan, planMove, type Step } from "./plan.js";

export interface MoveOptions {
  readonly layout: SiteLayout;
  readonly to: Mode;
  readonly nodes?: number;
  readonly prometheus: boolean;
  /** Absent where the target is looked at only. */
  readonly programs?: Programs;
  readonly report: Report;
  readonly signal: AbortSignal;
}

const ETCD_READY_MS = 30_000;

/** What is to be done here. Reads only. Throws a CliError where it can't be: the preconditions. */
export async function lookAtMove(
  options: Omit<MoveOptions, "report" | "signal">,
): Promise<Exclude<MovePlan, { kind: "refused" }>> {
  const { layout, to, nodes } = options;
  const file = readSiteFile(layout);
  const running = isUp(layout);
  const plan = planMove({
    to,
    ...(nodes === undefined ? {} : { nodes }),
    file,
    journal: readJournal(layout),
    running,
    stores: { cluster: existsSync(layout.etcd), standalone: existsSync(layout.embedded) },
  });
  if (plan.kind === "refused") throw new CliError(plan.exitCode, plan.why);
  if (plan.kind === "go" && file !== undefined) await assertPortsFree(options, file, plan.after, running);
  return plan;
}

/** Does what is to be done, step after step. */
export async function move(options: MoveOptions): Promise<Exclude<MovePlan, { kind: "refused" }>> {
  const plan = await lookAtMove(options);
  if (plan.kind === "done") return plan;
  for (const step of plan.steps) {
    if (options.signal.aborted) {
      throw new CliError(
        EXIT.failed,
        `stopped before "${step}": \`longshore ${commandTo(options.to)}\` goes on from here`,
      );
    }
    await act(step, plan.journal, plan.after, options);
  }
  return plan;
}

async function act(step: Step, journal: Journal, after: SiteFile, options: MoveOptions): Promise<void> {
  const { layout, report } = options;
  switch (step) {
    case "note":
      writeJson(journalFile(layout), journal);
      return;
    case "stop": {
      const stopped = await stopSite(layout);
      if (stopped.length > 0) report.step(`stopped ${stopped.join(", ")}`);
      return;
    }
    case "copy": {
      const count = await locked(layout, () => copy(after, options));
      report.step(`copied ${count} entries, and compared them`);
      return;
    }
    case "switch":
      writeJson(layout.siteFile, after);
      report.step(`the site is ${after.mode === "cluster" ? `one of ${after.nodes} nodes` : "standalone"} from now on`);
      return;
    case "retire":
      retire(layout, options.to, report);
      return;
    case "forget":
      rmSync(journalFile(layout), { force: true });
      return;
    case "start":
      await startInBackground(upOptions(options, after), programsOf(after, options), report, options.signal);
      report.step("the site is up");
  }
}

/** A standalone site has nothing beside its node. */
function programsOf(file: SiteFile, { programs }: MoveOptions): Programs | undefined {
  return file.mode === "standalone" ? undefined : programs;
}

/** Nobody else starts this site meanwhile. */
async function locked<T>(layout: SiteLayout, action: () => Promise<T>): Promise<T> {
  lockDirectory(layout, SITE_GRACE_MS);
  try {
    await sweep(layout);
    return await action();
  } finally {
    unlockDirectory(layout);
  }
}

async function copy(after: SiteFile, options: MoveOptions): Promise<number> {
  const { layout, to } = options;
  // A target that is there is a former try's: planMove refuses every other one.
  rmSync(to === "cluster" ? layout.etcd : layout.embedded, { recursive: true, force: true });
  const plan = planSite(upOptions(options, after), { ...after, mode: "cluster" }, layout);
  return await withEtcd(plan, options, async (etcd) => {
    const embedded = createEmbeddedCoordination({ directory: layout.embedded });
    try {
      return to === "cluster" ? await copyStore(embedded, etcd) : await copyStore(etcd, embedded);
    } finally {
      await embedded.close();
    }
  });
}

/** etcd alone, for as long as `action` takes. It is recorded like the site's own: `longshore down` finds it. */
async function withEtcd<T>(
  plan: SitePlan,
  options: MoveOptions,
  action: (etcd: Coordination) => Promise<T>,
): Promise<T> {
  const { programs, layout, report, signal } = options;
  const program = programs?.etcd;
  if (program === undefined) throw new CliError(EXIT.missingProgram, "etcd isn't there");
  const spec = { ...etcdProcess(plan, program), restart: false };
  const log = (message: string) => report.warn(message);
  const etcd = new SupervisedProcess(spec, layout.run, { changed() {}, log });
  etcd.start();
  const store = createEtcdCoordination({ endpoints: [etcdUrl(plan)], site: plan.file.site });
  try {
    const ready = until(() => answers(`${etcdUrl(plan)}/health`), { timeoutMs: ETCD_READY_MS, signal });
    if (!(await Promise.race([etcd.endedEarly(), ready]))) {
      throw new CliError(EXIT.failed, `etcd didn't answer within ${ETCD_READY_MS / 1000} s: see ${spec.logFile}`);
    }
    return await action(store);
  } finally {
    await store.close();
    await etcd.stop();
  }
}

/** The former store is kept beside, for a way back by hand; the one of an earlier move goes. */
function retire(layout: SiteLayout, to: Mode, report: Report): void {
  const former = to === "cluster" ? layout.embedded : layout.etcd;
  if (!existsSync(former)) return;
  const aside = `${former}.before-${commandTo(to)}`;
  rmSync(aside, { recursive: true, force: true });
  renameSync(former, aside);
  report.step(`the former store lies in ${aside}; delete it when you don't need it any more`);
}

async function assertPortsFree(
  options: Omit<MoveOptions, "report" | "signal">,
  now: SiteFile,
  after: SiteFile,
  running: boolean,
): Promise<void> {
  const { layout } = options;
  const bound = (file: SiteFile) => portsToBind(planSite(upOptions(options, file), file, layout));
  const own = new Set(running ? bound(now).map(({ port }) => port) : []);
  const taken = await firstTaken(bound(after).filter(({ port }) => !own.has(port)));
  if (taken !== undefined) throw portTaken(taken);
}

function upOptions({ layout, prometheus }: Pick<MoveOptions, "layout" | "prometheus">, file: SiteFile): UpOptions {
  const accounts = knownAccounts(layout);
  return {
    directory: layout.root,
    nodes: file.nodes,
    basePort: file.basePort,
    restart: true,
    prometheus,
    accounts: accounts.length > 0 ? accounts : [DEFAULT_ACCOUNT],
  };
}

export function isUp(layout: SiteLayout): boolean {
  const supervisor = readRecord(recordPath(layout.run, SUPERVISOR));
  return supervisor !== undefined && isRunning(supervisor);
}

function journalFile(layout: SiteLayout): string {
  return `${layout.root}/move.json`;
}

function readJournal(layout: SiteLayout): Journal | undefined {
  const text = readIfThere(journalFile(layout));
  if (text === undefined) return undefined;
  try {
    return journalSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new CliError(EXIT.failed, `${journalFile(layout)} is damaged: look at site.json, then delete it`, error);
  }
}
