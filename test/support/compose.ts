import { execFileSync, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type SiteEndpoints, siteEndpointsSchema } from "#cli/endpoints.js";
import { until } from "#lib/testing.js";
import { addAccountEverywhere, askThrough, type SiteRequest } from "./admin-api.js";
import { pullCable } from "./cable.js";
import { bytes } from "./clients/content.js";
import type { PartnerSite } from "./clients/partner.js";
import { type Outcome, report, run, succeeded } from "./clients/run.js";
import { guard, projectLabel, removeLabelled } from "./compose-cleanup.js";
import { composeEnvironment, freeNet } from "./compose-plan.js";
import { ensureEngine } from "./engine.js";
import { freePorts } from "./ports.js";
import type { NewAccount } from "./site.js";

/** The appliance in containers, for a test: a compose project of its own on the machine's engine, and faults for it. */

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** What Debian's OpenSSL trusts: with an extra authority in it where a company inspects TLS. */
const SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt";

/** Images of this checkout, apart from those of a site that somebody runs, and from another checkout's tests. */
export const IMAGE_TAG = `test-${createHash("sha256").update(ROOT).digest("hex").slice(0, 8)}`;

const KEPT_LOGS = 16 * 1024 * 1024;
const BUILD_MS = 1_200_000;
const UP_MS = 240_000;
const HEALTHY_MS = 90_000;
const CONVERGED_MS = 15_000;

export const NODES = ["node-1", "node-2", "node-3"] as const;
export const MEMBERS = ["etcd-1", "etcd-2", "etcd-3"] as const;
export const BALANCERS = ["balancer-1", "balancer-2"] as const;
export type Balancer = (typeof BALANCERS)[number];

export interface ComposeOptions {
  /** Variables besides those of every test, as in `.env`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** MiB. Given: the storage is a file system of that size, which can be filled. Default: a volume, as users have it. */
  readonly storageMiB?: number;
}

export interface ContainerState {
  readonly status: string;
  /** Undefined where the container has no health check. */
  readonly health: string | undefined;
  readonly exitCode: number;
  readonly restarts: number;
  /** Of the first process on the host; 0: it doesn't run. */
  readonly pid: number;
  readonly startedAt: string;
}

/** Brings the site up and resolves once it is healthy. Throws with the containers' logs where it doesn't get there. */
export async function startCompose(options: ComposeOptions = {}): Promise<ComposeSite> {
  const site = await ComposeSite.prepare(options);
  try {
    await site.build();
    await site.up();
    return site;
  } catch (error) {
    report(site.logTails());
    await site.remove();
    throw error;
  }
}

export class ComposeSite implements PartnerSite {
  /** How long the images took to build (or to find in the cache), and the site to become healthy. */
  buildMs = 0;
  upMs = 0;
  #endpoints: SiteEndpoints | undefined;
  #token: string | undefined;
  /** The authority behind the admin port, in PEM. */
  #ca: string | undefined;
  #removed = false;
  /** What `stop` found in the logs; printed if a test failed. */
  #lastWords = "";
  /** Pulled cables, by service: how to plug them in again. */
  readonly #pulled = new Map<string, () => void>();

  private constructor(
    readonly project: string,
    readonly net: string,
    /** A scratch directory of this site's. */
    readonly directory: string,
    readonly env: NodeJS.ProcessEnv,
  ) {
    process.once("exit", () => {
      if (process.exitCode === undefined || process.exitCode === 0) return;
      report(this.#removed ? this.#lastWords : this.logTails());
    });
  }

  /** Engine, names, ports and network; nothing is started. */
  static async prepare(options: ComposeOptions = {}): Promise<ComposeSite> {
    await ensureEngine();
    const project = `longshore-test-${randomBytes(4).toString("hex")}`;
    const directory = mkdtempSync(join(tmpdir(), `${project}-`));
    const net = freeNet(takenNetworks(), Math.random());
    const env = composeEnvironment(process.env, {
      COMPOSE_FILE: join(ROOT, "compose/compose.yaml"),
      COMPOSE_PROJECT_NAME: project,
      // Grafana's image comes from a registry, which a test machine need not reach.
      COMPOSE_PROFILES: "monitoring",
      COMPOSE_PROGRESS: "plain",
      COMPOSE_MENU: "false",
      LONGSHORE_VERSION: IMAGE_TAG,
      LONGSHORE_NET: net,
      LONGSHORE_SUBNET: `${net}.0/24`,
      LONGSHORE_SFTP_ADDRESS: "127.0.0.1",
      // Logins that worked have a line of their own only there.
      LONGSHORE_LOG_LEVEL: "debug",
      ...(await freePortSettings()),
      ...buildSettings(),
      ...(options.storageMiB === undefined ? {} : smallStorage(join(directory, "storage"), options.storageMiB)),
      ...options.settings,
    });
    const site = new ComposeSite(project, net, directory, env);
    guard(projectLabel(project), site.#directories());
    return site;
  }

  /** `docker compose ...` in the repository, whatever comes of it. */
  compose(args: readonly string[], options: { readonly deadlineMs?: number; readonly env?: NodeJS.ProcessEnv } = {}) {
    return run("docker", ["compose", ...args], {
      cwd: ROOT,
      env: { ...this.env, ...options.env },
      deadlineMs: options.deadlineMs ?? UP_MS,
    });
  }

  async build(): Promise<void> {
    const built = await this.compose(["build", "--quiet"], { deadlineMs: BUILD_MS });
    this.buildMs = built.ms;
    succeeded(built);
  }

  /** `up -d --wait`; again after `down`. */
  async up(...services: string[]): Promise<void> {
    const up = await this.compose(["up", "--detach", "--wait", "--no-build", "--quiet-pull", ...services]);
    succeeded(up);
    this.upMs = up.ms;
    this.#endpoints = undefined;
    await this.readEndpoints();
  }

  /** Volumes stay. */
  async down(): Promise<void> {
    succeeded(await this.compose(["down"]));
  }

  /** Everything goes, volumes included. Idempotent. */
  async remove(): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    for (const restore of this.#pulled.values()) restore();
    await this.compose(["--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1"]);
    removeLabelled(projectLabel(this.project), this.#directories());
  }

  /** Call it in `after`. The containers' last words are printed if a test of this process failed. */
  async stop(): Promise<void> {
    if (!this.#removed) this.#lastWords = this.logTails();
    await this.remove();
  }

  /** The `longshore` command against this site. */
  cli(...args: string[]): Promise<Outcome> {
    return this.compose(["run", "--rm", "--no-TTY", "cli", ...args]);
  }

  /** As `endpoints --json` says; its files are relative to the repository. */
  async readEndpoints(): Promise<SiteEndpoints> {
    this.#endpoints ??= siteEndpointsSchema.parse(JSON.parse(succeeded(await this.cli("endpoints", "--json")).stdout));
    return this.#endpoints;
  }

  /** As they were read last; the site is up. */
  endpoints(): { readonly sftp: { readonly host: string; readonly port: number } } {
    if (this.#endpoints === undefined) throw new Error("this site has not been up");
    return { sftp: this.#endpoints.sftp };
  }

  node(): never {
    throw new Error("partners reach the nodes of this site through its balancers only");
  }

  /** The port of the host that a balancer takes partners at. */
  sftpPort(balancer: Balancer): number {
    return Number(this.env[balancer === "balancer-1" ? "LONGSHORE_SFTP_PORT" : "LONGSHORE_SFTP_PORT_2"]);
  }

  /** The JSON that the admin API answers with. Throws with what it says unless the status is 2xx. */
  async admin(path: string, request: SiteRequest = {}): Promise<unknown> {
    this.#token ??= succeeded(await this.exec("node-1", "cat", "/etc/longshore/node/admin-token")).stdout.trim();
    this.#ca ??= succeeded(await this.exec("node-1", "cat", "/etc/longshore/node/admin-ca.pem")).stdout;
    const port = Number(this.env.LONGSHORE_ADMIN_PORT);
    return await askThrough({ port, token: this.#token, ca: this.#ca, timeoutMs: 10_000 }, path, request);
  }

  async addAccount(name: string, account: NewAccount): Promise<void> {
    const admin = (path: string, request?: SiteRequest) => this.admin(path, request);
    await addAccountEverywhere(admin, name, account, { deadlineMs: CONVERGED_MS });
  }

  /** The registered nodes, as the one that is asked knows them. */
  async nodes(): Promise<readonly NodeRecord[]> {
    return ((await this.admin("/api/v1/nodes")) as { nodes: NodeRecord[] }).nodes;
  }

  /** The node that took the first login of this account since then, by its log. Resolves when there was one. */
  async nodeOfLogin(account: string, since: Date): Promise<string> {
    const loggedIn = (line: string) =>
      line.includes('"message":"logged in"') && line.includes(`"account":"${account}"`);
    return until(`a login of ${account}`, async () => {
      for (const node of NODES) {
        const lines = (await this.logs(node, since.toISOString())).split("\n");
        if (lines.some(loggedIn)) return node;
      }
      return undefined;
    });
  }

  /** Resolves when these nodes are registered with this state, as `node list` shows it. */
  async nodesAre(state: string, names: readonly string[] = NODES, deadlineMs = HEALTHY_MS): Promise<void> {
    await until(
      `${names} are ${state}`,
      async () => {
        const nodes = await this.nodes();
        return names.every((name) => nodes.some((node) => node.name === name && node.state === state));
      },
      { deadlineMs, everyMs: 250 },
    );
  }

  container(service: string): string {
    return `${this.project}-${service}-1`;
  }

  state(service: string): ContainerState {
    const text = docker("inspect", "--format", "{{json .}}", this.container(service));
    const { State, RestartCount } = JSON.parse(text) as EngineContainer;
    return {
      status: State.Status,
      health: State.Health?.Status,
      exitCode: State.ExitCode,
      restarts: RestartCount,
      pid: State.Pid,
      startedAt: State.StartedAt,
    };
  }

  async healthy(...services: readonly string[]): Promise<void> {
    for (const service of services) {
      await until(
        `${service} is healthy`,
        () => {
          const { status, health } = this.state(service);
          return status === "running" && (health === undefined || health === "healthy");
        },
        { deadlineMs: HEALTHY_MS, everyMs: 500 },
      );
    }
  }

  /** `docker kill`: the engine doesn't start it again by itself. */
  kill(service: string): void {
    docker("kill", this.container(service));
  }

  /** `kill -9` of the container's first process, from the host: to the engine it is a crash. */
  crash(service: string): void {
    const { pid } = this.state(service);
    if (pid === 0) throw new Error(`${service} isn't running`);
    process.kill(pid, "SIGKILL");
  }

  pause(service: string): void {
    docker("pause", this.container(service));
  }

  unpause(service: string): void {
    docker("unpause", this.container(service));
  }

  start(service: string): void {
    docker("start", this.container(service));
  }

  exec(service: string, ...command: string[]): Promise<Outcome> {
    return run("docker", ["exec", this.container(service), ...command]);
  }

  /** What a container wrote, oldest first; `since` as `docker logs` takes it. */
  async logs(service: string, since?: string): Promise<string> {
    const options = since === undefined ? [] : ["--since", since];
    const { stdout, stderr } = await run("docker", ["logs", ...options, this.container(service)]);
    return `${stdout}${stderr}`;
  }

  /**
   * Pulls the container's network cable: no goodbye, no reset, as when a host loses its power. Takes effect before it
   * returns. `plugIn` undoes it.
   */
  pullCable(service: string): void {
    this.#pulled.set(service, pullCable(this.state(service).pid));
  }

  plugIn(service: string): void {
    this.#pulled.get(service)?.();
    this.#pulled.delete(service);
  }

  /** Where the storage is on the host; only of a site with `storageMiB`. */
  get storage(): string {
    const path = join(this.directory, "storage");
    if (!existsSync(path)) throw new Error("this site's storage is a volume: give it `storageMiB`");
    return path;
  }

  /** Fills the storage but for about so many bytes. `makeRoom` undoes it. */
  fill(left: number): void {
    const { bavail, bsize } = statfsSync(this.storage);
    writeFileSync(join(this.storage, `ballast-${left}`), bytes(Math.max(0, Math.floor(bavail * bsize - left))));
  }

  makeRoom(): void {
    for (const name of readdirSync(this.storage)) if (name.startsWith("ballast-")) rmSync(join(this.storage, name));
  }

  /** How each container is, and the end of what it wrote. */
  logTails(): string {
    const ask = (...args: string[]) => {
      const options = { cwd: ROOT, env: this.env, encoding: "utf8", timeout: 60_000, maxBuffer: KEPT_LOGS } as const;
      const { stdout, stderr } = spawnSync("docker", ["compose", "--profile", "*", ...args], options);
      return `${stdout}${stderr}`;
    };
    const list = ask("ps", "--all", "--format", "table {{.Service}}\t{{.Status}}");
    return `\n--- containers of ${this.project}\n${list}${ask("logs", "--no-color", "--tail", "40")}`;
  }

  /** All that this site leaves on the host besides what the engine has of it. */
  #directories(): string[] {
    return [this.directory, join(ROOT, ".longshore/compose", this.project)];
  }
}

export interface NodeRecord {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  /** Why the state isn't `ready`. */
  readonly reasons?: readonly string[];
  readonly load: { readonly sessions: number; readonly transfers: number };
}

interface EngineContainer {
  readonly State: {
    readonly Status: string;
    readonly ExitCode: number;
    readonly Pid: number;
    readonly StartedAt: string;
    readonly Health?: { readonly Status: string };
  };
  readonly RestartCount: number;
}

/** Throws with what the engine says. Synchronous: a fault has happened when it returns. */
export function docker(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("docker", args, { encoding: "utf8", timeout: 60_000 });
  if (status !== 0) throw new Error(`docker ${args.join(" ")} ended with ${status}: ${stderr}`);
  return stdout.trim();
}

/** Of all networks of the engine. */
export function takenNetworks(): string[] {
  const ids = docker("network", "ls", "--quiet")
    .split("\n")
    .filter((id) => id !== "");
  const format = "{{range .IPAM.Config}}{{.Subnet}}\n{{end}}";
  // One that another test removes meanwhile makes the command fail, but not silent about the rest.
  const { stdout } = spawnSync("docker", ["network", "inspect", "--format", format, ...ids], { encoding: "utf8" });
  return stdout.split("\n").filter((line) => line !== "");
}

async function freePortSettings(): Promise<Record<string, string>> {
  const names = ["SFTP_PORT", "SFTP_PORT_2", "ADMIN_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"];
  const ports = await freePorts(names.length);
  return Object.fromEntries(names.map((name, i) => [`LONGSHORE_${name}`, `${ports[i]}`]));
}

/** Where this machine gets npm's packages from, and whom it trusts. */
export function buildSettings(): Record<string, string> {
  const registry = spawnSync("npm", ["config", "get", "registry"], { cwd: tmpdir(), encoding: "utf8" }).stdout?.trim();
  const authorities = process.env.NODE_EXTRA_CA_CERTS ?? SYSTEM_AUTHORITIES;
  return {
    ...(registry ? { LONGSHORE_NPM_REGISTRY: registry } : {}),
    ...(existsSync(authorities) ? { LONGSHORE_EXTRA_CA: authorities } : {}),
  };
}

/** A file system of that size, in memory; no volume driver without rights of its own can bound one. */
function smallStorage(directory: string, mebibytes: number): Record<string, string> {
  mkdirSync(directory);
  const options = `size=${mebibytes}m,mode=0700,uid=10001,gid=10001`;
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", directory], { stdio: ["ignore", 2, 2] });
  return { LONGSHORE_STORAGE: directory, LONGSHORE_STORAGE_LOCAL: "true" };
}
