import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Endpoints, writeEndpoints } from "../endpoints.js";
import { CliError, EXIT } from "../errors.js";
import { makePrivateDirectory, readIfThere, writeAtomically, writeJson } from "../files.js";
import { type SiteLayout, siteLayout } from "../layout.js";
import { answers, until } from "../wait.js";
import { ensureAccounts } from "./accounts.js";
import { ensureAdminCertificate } from "./certificate.js";
import { fetchHostKeys } from "./host-key-scan.js";
import { lockDirectory, unlockDirectory } from "./lock.js";
import { rotateLog } from "./logs.js";
import { ensureMode } from "./mode.js";
import { PORTS_A_SITE, type UpOptions } from "./options.js";
import {
  adminUrl,
  decideSite,
  etcdUrl,
  HAPROXY_SOCKET,
  LOOPBACK,
  type PlannedNode,
  planSite,
  portsToBind,
  type SitePlan,
} from "./plan.js";
import { firstTaken, portTaken } from "./ports.js";
import {
  etcdProcess,
  haproxyProcess,
  nodeProcess,
  type Programs,
  prometheusProcess,
  SITE_GRACE_MS,
} from "./processes.js";
import type { Report } from "./report.js";
import { type Credentials, makeSiteSecrets } from "./secrets.js";
import { readSiteFile } from "./site-file.js";
import { knownHosts, sshAnswers } from "./ssh.js";
import { type ProcessSpec, SupervisedProcess } from "./supervised.js";
import { stopOrder, sweep } from "./sweep.js";

/** A site that is up: through its address an SSH server answers. */
export interface RunningSite {
  readonly endpoints: Endpoints;
  /** Stops all in order; what is still there when `hurry` aborts is killed. Idempotent. */
  stop(hurry?: AbortSignal): Promise<void>;
}

/** How long each part may take to answer; a loaded machine takes seconds for what takes a tenth on an idle one. */
const READY_MS = 60_000;
/** Blocks of ports to look at, beyond the wanted one. */
const MORE_BLOCKS = 50;

/**
 * Starts a site and returns when it is ready. Where that fails, or `signal` aborts, it stops what it started and throws.
 * `programs` is undefined for a standalone site.
 */
export async function startSite(
  options: UpOptions,
  programs: Programs | undefined,
  report: Report,
  signal: AbortSignal,
): Promise<RunningSite> {
  const layout = siteLayout(options.directory);
  makePrivateDirectory(layout.root);
  makePrivateDirectory(layout.run);
  lockDirectory(layout, SITE_GRACE_MS);
  const site = new Starting(report, signal);
  try {
    const swept = await sweep(layout);
    if (swept.length > 0) report.warn(`an earlier site was left behind here; stopped ${swept.join(", ")}`);
    const plan = await settlePlan(options, layout, report);
    await site.start(plan, programs);
    return { endpoints: site.endpoints(), stop: (hurry) => site.stop(hurry) };
  } catch (error) {
    await site.stop();
    unlockDirectory(layout);
    throw signal.aborted ? new CliError(EXIT.failed, "stopped before the site was ready") : error;
  }
}

/** Decides what runs where, and remembers it. Moves to the next free block of ports where the user named none. */
async function settlePlan(options: UpOptions, layout: SiteLayout, report: Report): Promise<SitePlan> {
  const wanted = decideSite(options, readSiteFile(layout));
  for (let block = 0; ; block++) {
    const file = { ...wanted, basePort: wanted.basePort + block * PORTS_A_SITE };
    const plan = planSite(options, file, layout);
    const taken = await firstTaken(portsToBind(plan));
    if (taken === undefined) {
      if (block > 0) report.warn(`port ${wanted.basePort} or one after it is taken, so this site has ${file.basePort}`);
      writeJson(layout.siteFile, file);
      return plan;
    }
    if (options.basePort !== undefined || block === MORE_BLOCKS) throw portTaken(taken);
  }
}

/** The processes of one site and what is known of them so far. */
class Starting {
  readonly #report: Report;
  readonly #signal: AbortSignal;
  readonly #processes = new Map<string, SupervisedProcess>();
  #plan: SitePlan | undefined;
  #credentials: readonly Credentials[] = [];
  /** The authority behind the admin ports, in PEM; undefined where they speak HTTP. */
  #ca: string | undefined;
  #isReady = false;
  #stopped: Promise<void> | undefined;

  constructor(report: Report, signal: AbortSignal) {
    this.#report = report;
    this.#signal = signal;
  }

  async start(plan: SitePlan, programs: Programs | undefined): Promise<void> {
    this.#plan = plan;
    makePrivateDirectory(plan.layout.logs);
    const token = makeSiteSecrets(plan.layout);
    if (plan.file.tls) this.#ca = ensureAdminCertificate(plan.layout);
    // All at once: nodes and HAProxy wait for what they need by themselves.
    await Promise.all([
      ...(programs === undefined ? [] : [this.#startCluster(programs)]),
      ...plan.nodes.map((node) => this.#startNode(node)),
    ]);
    const prometheus = plan.prometheus ? programs?.prometheus : undefined;
    await Promise.all([
      this.#open(token, programs === undefined ? "node-1" : "haproxy"),
      ...(prometheus === undefined ? [] : [this.#startPrometheus(prometheus)]),
    ]);
    this.#isReady = true;
    for (const supervised of this.#processes.values()) supervised.keepAlive();
    this.#publish();
  }

  /** The partners' side: accounts, and the address that they come to, with the keys to know it by. */
  async #open(token: string, front: string): Promise<void> {
    const { layout, nodes, ports, accounts, mode } = this.#knownPlan();
    const urls = nodes.map((node) => adminUrl(this.#knownPlan(), node.ports.admin));
    const access = { urls, token, ...(this.#ca === undefined ? {} : { ca: this.#ca }) };
    if (mode !== undefined) await ensureMode(access, mode);
    this.#credentials = await ensureAccounts(access, layout, accounts);
    const address = { host: LOOPBACK, port: ports.sftp };
    await this.#ready(this.#process(front), `SFTP answers at ${LOOPBACK}:${ports.sftp}`, () => sshAnswers(address));
    writeAtomically(layout.knownHosts, knownHosts(address, await fetchHostKeys(address)));
  }

  async #startCluster(programs: Programs): Promise<void> {
    const plan = this.#knownPlan();
    const etcd = this.#launch(etcdProcess(plan, programs.etcd));
    this.#launch(haproxyProcess(plan, programs.haproxy));
    await this.#ready(etcd, "etcd answers", () => answers(`${etcdUrl(plan)}/health`));
  }

  async #startNode(node: PlannedNode): Promise<void> {
    const plan = this.#knownPlan();
    const supervised = this.#launch(nodeProcess(plan, node));
    const url = `${adminUrl(plan, node.ports.admin)}/health/ready`;
    await this.#ready(supervised, `${node.name} is ready`, () => answers(url, this.#ca));
  }

  /** A site without its metrics is still a site. */
  async #startPrometheus(program: string): Promise<void> {
    const plan = this.#knownPlan();
    const supervised = this.#launch(prometheusProcess(plan, program));
    const url = `http://${LOOPBACK}:${plan.ports.prometheus}`;
    try {
      await this.#ready(supervised, `Prometheus is ready`, () => answers(`${url}/-/ready`));
    } catch (error) {
      if (this.#signal.aborted) throw error;
      this.#report.warn(`going on without Prometheus: ${error instanceof Error ? error.message : error}`);
      this.#processes.delete(supervised.spec.name);
      await supervised.stop();
    }
  }

  #launch(spec: ProcessSpec): SupervisedProcess {
    rotateLog(spec.logFile);
    const supervised = new SupervisedProcess(spec, this.#knownPlan().layout.run, {
      changed: () => this.#publish(),
      log: (message) => this.#report.warn(message),
    });
    this.#processes.set(spec.name, supervised);
    supervised.start();
    return supervised;
  }

  async #ready(supervised: SupervisedProcess, what: string, condition: () => Promise<boolean>): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#signal, over.signal]);
    try {
      const done = await Promise.race([supervised.endedEarly(), until(condition, { timeoutMs: READY_MS, signal })]);
      if (done) this.#report.step(what);
      else throw new CliError(EXIT.failed, `not within ${READY_MS / 1000} s: ${what}. See ${supervised.spec.logFile}`);
    } finally {
      over.abort();
    }
  }

  endpoints(): Endpoints {
    const plan = this.#knownPlan();
    const { layout, ports } = plan;
    const url = (port: number) => `http://${LOOPBACK}:${port}`;
    const pid = (name: string) => this.#processes.get(name)?.pid ?? null;
    const clustered = plan.file.mode === "cluster";
    return {
      sftp: { host: LOOPBACK, port: ports.sftp },
      admin: {
        url: adminUrl(plan, ports.admin),
        tokenFile: layout.adminToken,
        ...(plan.file.tls && { caFile: layout.tls.authority.certificate }),
      },
      nodes: plan.nodes.map((node) => ({
        id: (readIfThere(join(layout.node(node.name).data, "node-id")) ?? "").trim(),
        name: node.name,
        pid: pid(node.name),
        sftpPort: node.ports.sftp,
        adminUrl: adminUrl(plan, node.ports.admin),
        metricsUrl: `${adminUrl(plan, node.ports.admin)}/metrics`,
        settingsFile: layout.node(node.name).settings,
        logFile: layout.log(node.name),
      })),
      ...(clustered && {
        etcd: { endpoints: [etcdUrl(plan)], pid: pid("etcd") },
        haproxy: {
          pid: pid("haproxy"),
          statsUrl: `${url(ports.haproxyStats)}/`,
          metricsUrl: `${url(ports.haproxyStats)}/metrics`,
          socket: join(layout.haproxy, HAPROXY_SOCKET),
        },
      }),
      ...(this.#processes.has("prometheus") && {
        prometheus: { url: url(ports.prometheus), pid: pid("prometheus") },
      }),
      storage: { path: layout.storage },
      accounts: this.#credentials.map(({ name, password, privateKeyFile }) => ({ name, password, privateKeyFile })),
      knownHostsFile: layout.knownHosts,
      supervisor: { pid: process.pid },
      directory: layout.root,
    };
  }

  /** Once the site is up, each change of a pid is in endpoints.json before anything else can happen. */
  #publish(): void {
    if (this.#isReady && this.#stopped === undefined) writeEndpoints(this.#knownPlan().layout, this.endpoints());
  }

  stop(hurry?: AbortSignal): Promise<void> {
    this.#stopped ??= this.#stopAll(hurry);
    return this.#stopped;
  }

  async #stopAll(hurry: AbortSignal | undefined): Promise<void> {
    if (this.#plan === undefined) return;
    const named = [...this.#processes].map(([name, supervised]) => ({ name, supervised }));
    for (const together of stopOrder(named)) {
      await Promise.all(together.map(({ supervised }) => supervised.stop(hurry)));
      if (this.#isReady) this.#report.step(`stopped ${together.map(({ name }) => name).join(", ")}`);
    }
    const { layout } = this.#plan;
    rmSync(layout.endpoints, { force: true });
    unlockDirectory(layout);
  }

  #process(name: string): SupervisedProcess {
    const supervised = this.#processes.get(name);
    if (supervised === undefined) throw new Error(`${name} wasn't started`);
    return supervised;
  }

  #knownPlan(): SitePlan {
    if (this.#plan === undefined) throw new Error("there is no plan yet");
    return this.#plan;
  }
}
