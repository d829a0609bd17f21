import { spawnSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LAST_RESORT } from "#balancer/template.js";
import { type Endpoints, endpointsSchema } from "#cli/endpoints.js";
import { EXIT } from "#cli/errors.js";
import { ask } from "#cli/http.js";
import { until } from "#lib/testing.js";
import { run } from "./clients/run.js";
import { type Started, start } from "./processes.js";

/** A whole site for a test: `longshore up` as a user runs it, in a directory of its own. */

export const LONGSHORE = fileURLToPath(new URL("../../services/cli/main.js", import.meta.url));
const NODE = fileURLToPath(new URL("../../services/node/main.js", import.meta.url));

/** Sites lie below the ports that the kernel takes for outgoing connections, each in a block of its own. */
const FIRST_BLOCK = 120;
const BLOCKS = 200;
const PORTS_A_BLOCK = 100;
const UP_MS = 120_000;
const CONVERGED_MS = 10_000;
/** A site with a few uploads needs that much; a container's /dev/shm often has 64 MiB. */
const SHARED_MEMORY_BYTES = 2 * 1024 ** 3;

export interface SiteOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** False: a node that dies stays dead, until `startNode`. Default true. */
  readonly restart?: boolean;
  /** Default false: tests of metrics want it, the others their time. */
  readonly prometheus?: boolean;
  /** HTTPS on the admin ports. Default false. */
  readonly tls?: boolean;
  /** Which nodes take partners. Default: every one. */
  readonly mode?: "active-active" | "active-passive";
  /** One node with the embedded store. Default false. */
  readonly standalone?: boolean;
  /** An existing directory; `stop` leaves it as it is. Default: a new one, removed by `stop`. */
  readonly dir?: string;
  /** Where a new directory is made: in memory where there is enough, or on a disk whose fsync is real. Default memory. */
  readonly on?: "memory" | "disk";
  /** Besides the test's own environment, for all processes of the site. */
  readonly env?: NodeJS.ProcessEnv;
  readonly accounts?: readonly string[];
}

export type SiteNode = Endpoints["nodes"][number];

export interface NewAccount {
  readonly password?: string;
  readonly publicKeys?: readonly string[];
  readonly home?: string;
  readonly permissions?: readonly { readonly path: string; readonly allow: readonly string[] }[];
  readonly enabled?: boolean;
  readonly description?: string;
}

export interface AdminRequest {
  readonly method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Index of the node to ask; default: the site's address. */
  readonly node?: number;
}

/** Starts a site and resolves when partners can connect to it. Throws with what `up` said where it doesn't come up. */
export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const directory = options.dir ?? mkdtempSync(join(place(options.on ?? "memory"), "longshore-site-"));
  const site = new Site(directory, options);
  try {
    await site.up();
    return site;
  } catch (error) {
    await site.stop();
    throw error;
  }
}

export class Site {
  /** Nodes that the test itself started again. */
  readonly #own: Started[] = [];
  readonly #options: SiteOptions;
  #isUp = false;
  /** Once it was up, the site keeps its ports. */
  #basePort: number | undefined;
  /** The ends of all logs, kept when the directory goes; printed if a test failed. */
  #lastWords = "";

  constructor(
    readonly directory: string,
    options: SiteOptions,
  ) {
    this.#options = options;
    process.once("exit", () => this.#onExit());
  }

  /** `longshore up` on this directory, again after `down`. */
  async up(): Promise<Endpoints> {
    for (let tries = 0; ; tries++) {
      const basePort = this.#basePort ?? randomBlock();
      const up = await longshore(this.#upArguments(basePort), this.#options.env);
      if (up.code === 0) {
        this.#isUp = true;
        this.#basePort = basePort;
        return endpointsSchema.parse(JSON.parse(up.stdout));
      }
      // Somebody took one of the ports since: another block may be free.
      if (up.code === EXIT.portTaken && this.#basePort === undefined && tries < 10) continue;
      throw new Error(`longshore up ended with ${up.code ?? up.signal}:\n${up.stderr}${this.#logTails()}`);
    }
  }

  /** `longshore down`; the directory stays. */
  async down(): Promise<void> {
    for (const node of this.#own.splice(0)) await node.kill();
    const down = await longshore(["down", "--dir", this.directory]);
    this.#isUp = false;
    if (down.code !== 0) throw new Error(`longshore down ended with ${down.code ?? down.signal}:\n${down.stderr}`);
  }

  /** Stops the site and removes its directory, unless the caller made that. Idempotent. */
  async stop(): Promise<void> {
    if (this.#isUp || readdirOrNothing(join(this.directory, "run")).length > 0) await this.down();
    this.#lastWords ||= this.#logTails();
    if (this.#options.dir === undefined) rmSync(this.directory, { recursive: true, force: true });
  }

  /** Read anew each time: pids change. */
  endpoints(): Endpoints {
    return endpointsSchema.parse(JSON.parse(readFileSync(join(this.directory, "endpoints.json"), "utf8")));
  }

  /** The node with this index, from 0. */
  node(index: number): SiteNode {
    const node = this.endpoints().nodes[index];
    if (node === undefined) throw new Error(`this site has no node ${index}`);
    return node;
  }

  /** The node's process id. Throws where it isn't running. */
  pid(index: number): number {
    const { name, pid } = this.node(index);
    if (pid === null) throw new Error(`${name} isn't running`);
    return pid;
  }

  /** `kill -9` of a node (or another signal). Returns the pid that it had. */
  killNode(index: number, signal: NodeJS.Signals = "SIGKILL"): number {
    const pid = this.pid(index);
    process.kill(pid, signal);
    return pid;
  }

  /** Resolves when the node says that it is ready, under another pid than `before` if given. */
  async nodeReady(index: number, before?: number, timeoutMs = 30_000): Promise<void> {
    const { name, adminUrl } = this.node(index);
    await until(
      `${name} is ready`,
      async () => {
        if (before !== undefined && this.node(index).pid === before) return false;
        return (await fetch(`${adminUrl}/health/ready`, { signal: AbortSignal.timeout(1_000) })).ok;
      },
      { deadlineMs: timeoutMs },
    );
  }

  /** Starts a node of a site with `restart: false` again and resolves when it is ready. */
  async startNode(index: number): Promise<Started> {
    const { name, settingsFile } = this.node(index);
    const env = { ...process.env, ...this.#options.env };
    const node = start(process.execPath, [NODE, "--config", settingsFile], { name, env });
    this.#own.push(node);
    await this.nodeReady(index);
    return node;
  }

  /** A request to the admin API (or any path of its port), with the token. */
  adminFetch(path: string, request: AdminRequest = {}): Promise<Response> {
    const { admin } = this.endpoints();
    const base = request.node === undefined ? admin.url : this.node(request.node).adminUrl;
    const method = request.method ?? "GET";
    const headers = {
      authorization: `Bearer ${readFileSync(admin.tokenFile, "utf8").trim()}`,
      ...(request.body === undefined ? {} : { "content-type": "application/json" }),
      ...request.headers,
    };
    const body = request.body === undefined ? {} : { body: JSON.stringify(request.body) };
    if (admin.caFile !== undefined) {
      // Node 20's fetch takes no authorities of the caller's. The answer's headers aren't passed on.
      const ca = readFileSync(admin.caFile, "utf8");
      return ask(new URL(path, base), { method, headers, ...body, ca, timeoutMs: 30_000 }).then(
        (answer) => new Response(answer.body.length === 0 ? null : answer.body, { status: answer.status }),
      );
    }
    return fetch(new URL(path, base), {
      method,
      headers,
      ...body,
      signal: AbortSignal.timeout(30_000),
    });
  }

  /** The JSON that the admin API answers with. Throws with what it says unless the status is 2xx. */
  async admin(path: string, request: AdminRequest = {}): Promise<unknown> {
    const response = await this.adminFetch(path, request);
    const text = await response.text();
    if (!response.ok) throw new Error(`${request.method ?? "GET"} ${path} got ${response.status}: ${text}`);
    return text === "" ? undefined : (JSON.parse(text) as unknown);
  }

  /** Adds or replaces an account and resolves when every node that is up knows it. */
  async addAccount(name: string, account: NewAccount): Promise<void> {
    const answer = await this.admin(`/api/v1/accounts/${encodeURIComponent(name)}`, { method: "PUT", body: account });
    const { revision } = answer as { revision: number };
    await this.converged(revision);
  }

  /** Resolves when the change with this revision is in force on all nodes. */
  async converged(revision: number): Promise<void> {
    await until(
      `revision ${revision} is everywhere`,
      async () => {
        const answer = await this.admin(`/api/v1/cluster/convergence?revision=${revision}`);
        return (answer as { converged: boolean }).converged;
      },
      { deadlineMs: CONVERGED_MS },
    );
  }

  /** How many sessions HAProxy has open to each node, by its name. */
  async sessionsByNode(): Promise<Map<string, number>> {
    const lines = (await this.haproxy("show stat")).split("\n");
    const columns = (lines[0] ?? "").replace(/^# /, "").split(",");
    const rows = lines
      .slice(1)
      .map((line) => Object.fromEntries(line.split(",").map((value, i) => [columns[i], value])));
    const servers = rows.filter((row) => row.pxname === "sftp" && !["FRONTEND", "BACKEND"].includes(row.svname ?? ""));
    const sessions = new Map<string, number>();
    for (const { svname = "", scur } of servers) {
      const name = nodeOfServer(svname);
      sessions.set(name, (sessions.get(name) ?? 0) + Number(scur));
    }
    return sessions;
  }

  /** The index of the one node that has sessions. Throws where none has, or several have. */
  async servingNode(): Promise<number> {
    const busy = [...(await this.sessionsByNode())].filter(([, sessions]) => sessions > 0).map(([name]) => name);
    const index = this.endpoints().nodes.findIndex(({ name }) => name === busy[0]);
    if (busy.length !== 1 || index < 0) throw new Error(`sessions are on ${busy.join(", ") || "no node"}`);
    return index;
  }

  /** The index of the node that HAProxy took a connection to, by the client's local port; undefined where there is none. */
  async nodeOfConnection(localPort: number | undefined): Promise<number | undefined> {
    const sessions = (await this.haproxy("show sess")).split("\n");
    const session = sessions.find((line) => line.includes(`src=127.0.0.1:${localPort} fe=sftp `));
    const name = nodeOfServer(/ srv=(\S+)/.exec(session ?? "")?.[1] ?? "");
    const index = this.endpoints().nodes.findIndex((node) => node.name === name);
    return index < 0 ? undefined : index;
  }

  /** One command of HAProxy's runtime API. */
  haproxy(command: string): Promise<string> {
    const { haproxy } = this.endpoints();
    if (haproxy === undefined) throw new Error("a standalone site has no HAProxy");
    return new Promise((resolve, reject) => {
      let answer = "";
      const socket = connect(haproxy.socket, () => socket.end(`${command}\n`));
      socket.setEncoding("utf8");
      socket.on("data", (text: string) => {
        answer += text;
      });
      socket.once("error", reject);
      socket.once("end", () => resolve(answer));
    });
  }

  #upArguments(basePort: number): string[] {
    const {
      nodes = 3,
      restart = true,
      prometheus = false,
      standalone = false,
      accounts = [],
      tls = false,
      mode,
    } = this.#options;
    return [
      ...["up", "--json", "--dir", this.directory, "--base-port", String(basePort)],
      ...(standalone ? ["--standalone"] : ["--nodes", String(nodes)]),
      ...(mode === undefined ? [] : ["--mode", mode]),
      ...(restart ? [] : ["--no-restart"]),
      ...(tls ? ["--tls"] : []),
      ...(prometheus ? [] : ["--no-prometheus"]),
      ...(accounts.length === 0 ? [] : ["--accounts", ...accounts]),
    ];
  }

  #logTails(): string {
    const logs = join(this.directory, "logs");
    const names = readdirOrNothing(logs).filter((name) => name.endsWith(".log"));
    return names
      .map((name) => `\n--- end of ${name}\n${readFileSync(join(logs, name), "utf8").slice(-6_000)}`)
      .join("");
  }

  /** Whatever became of the test: nothing is left running, and what failed can be looked into. */
  #onExit(): void {
    if (this.#isUp) {
      this.#lastWords = this.#logTails();
      spawnSync(process.execPath, [LONGSHORE, "down", "--dir", this.directory], { stdio: "ignore", timeout: 60_000 });
      if (this.#options.dir === undefined) rmSync(this.directory, { recursive: true, force: true });
    }
    if (process.exitCode !== undefined && process.exitCode !== 0) process.stderr.write(`${this.#lastWords}\n`);
  }
}

/** Runs the `longshore` command to its end, whatever that is. */
export function longshore(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return run(process.execPath, [LONGSHORE, ...args], { env: { ...process.env, ...env }, deadlineMs: UP_MS });
}

/** First port of a block that is probably free; `up` finds out for sure. */
export function randomBlock(): number {
  return (FIRST_BLOCK + Math.floor(Math.random() * BLOCKS)) * PORTS_A_BLOCK;
}

/** Each node is there twice: see renderBalancer. */
function nodeOfServer(server: string): string {
  return server.endsWith(LAST_RESORT) ? server.slice(0, -LAST_RESORT.length) : server;
}

function place(on: "memory" | "disk"): string {
  const shared = "/dev/shm";
  try {
    accessSync(shared, constants.W_OK);
    const { bavail, bsize } = statfsSync(shared);
    if (on === "memory" && bavail * bsize >= SHARED_MEMORY_BYTES) return shared;
  } catch {
    // Not there: the disk will do.
  }
  return tmpdir();
}

function readdirOrNothing(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
