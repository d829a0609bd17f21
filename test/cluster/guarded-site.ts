import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { renderEndSessions } from "#balancer/end-sessions.js";
import { renderBalancer } from "#balancer/template.js";
import { until } from "#lib/testing.js";
import type { PartnerSite } from "../support/clients/partner.js";
import { RawSftp } from "../support/clients/raw-sftp.js";
import { type EtcdCluster, type StartEtcdOptions, startEtcd } from "../support/etcd.js";
import { ensurePackages } from "../support/packages.js";
import { freePorts } from "../support/ports.js";
import { type Started, start } from "../support/processes.js";
import { type Node, Site } from "./node-process.js";

/**
 * Three nodes behind HAProxy that trust 127.0.0.1 alone as their balancer, so that every other loopback address is a partner
 * of its own. Partners come through HAProxy from such an address, or to one node by a PROXY header of their own.
 */
export class GuardedSite {
  private constructor(
    readonly etcd: EtcdCluster,
    readonly site: Site,
    readonly nodes: readonly Node[],
    /** Undefined where it never started. */
    private haproxy: Started | undefined,
    /** Of HAProxy. */
    readonly port: number,
  ) {}

  static async start(options: StartEtcdOptions = {}): Promise<GuardedSite> {
    const etcd = await startEtcd(options);
    const site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
    const nodes: Node[] = [];
    let guarded: GuardedSite | undefined;
    try {
      for (const name of ["alpha", "beta", "gamma"]) {
        nodes.push(await site.node(name, nodes.length + 1, { balancers: ["127.0.0.1"] }));
      }
      await Promise.all(nodes.map((node) => node.ready()));
      const { haproxy, port } = await startHaproxy(site, nodes);
      const made = new GuardedSite(etcd, site, nodes, haproxy, port);
      guarded = made;
      await until("HAProxy leads to a node", () => made.#greets(port), { deadlineMs: 10_000 });
      return made;
    } catch (error) {
      // What goes on running would keep the test file from ever ending.
      await (guarded ?? new GuardedSite(etcd, site, nodes, undefined, 0)).stop();
      throw error;
    }
  }

  /**
   * A new HAProxy on the same configuration takes over and the old one ends once its sessions have, as systemd's reload does.
   * Resolves when the new one answers.
   */
  async reloadHaproxy(): Promise<void> {
    const { haproxy: program } = ensurePackages({ haproxy: "haproxy" });
    const old = this.haproxy;
    if (old === undefined) throw new Error("HAProxy was never started");
    const cwd = join(this.site.directory, "haproxy");
    const next = start(program, ["-db", "-f", join(cwd, "haproxy.cfg"), "-sf", `${old.pid}`], { name: "haproxy", cwd });
    this.haproxy = next;
    await until("the new HAProxy leads to a node", () => next.alive && this.#greets(this.port), { deadlineMs: 10_000 });
  }

  async stop(): Promise<void> {
    await this.haproxy?.kill();
    await Promise.all(this.nodes.map((node) => node.process.kill()));
    await this.etcd.stop();
    this.site.remove();
  }

  /** For partners: through HAProxy, as everybody. */
  get door(): PartnerSite {
    return {
      endpoints: () => ({
        sftp: { host: "127.0.0.1", port: this.port },
        storage: { path: join(this.site.directory, "storage") },
      }),
      node: (index) => ({ sftpPort: settingsOf(this.node(index)).sftp.port }),
      addAccount: (name, account) => this.account(name, { ...account }),
    };
  }

  node(index: number): Node {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`no node ${index}`);
    return node;
  }

  async account(name: string, account: Record<string, unknown>): Promise<void> {
    const { status, text, body } = await this.node(0).ask(`/api/v1/accounts/${name}`, { method: "PUT", body: account });
    if (status >= 300) throw new Error(`${status} ${text}`);
    await this.converged(Number(body.revision));
  }

  async settings(change: Record<string, unknown>): Promise<void> {
    const { body, etag } = await this.node(0).ask("/api/v1/site");
    const headers = { "if-match": etag ?? "" };
    const put = await this.node(0).ask("/api/v1/site", { method: "PUT", body: { ...body, ...change }, headers });
    if (put.status !== 200) throw new Error(`${put.status} ${put.text}`);
    await this.converged(Number(put.body.revision));
  }

  async converged(revision: number): Promise<void> {
    await until(
      `revision ${revision} is everywhere`,
      async () => {
        return (await this.node(0).ask(`/api/v1/cluster/convergence?revision=${revision}`)).body.converged;
      },
      { deadlineMs: 10_000 },
    );
  }

  /** Through HAProxy, from this loopback address. */
  through(source: string, user: string, secret: { password?: string; privateKey?: string }): Promise<RawSftp> {
    return RawSftp.connect({ host: "127.0.0.1", port: this.port, localAddress: source, user, ...secret });
  }

  /** With one node, as if from this address. */
  at(
    index: number,
    source: string,
    user: string,
    secret: { password?: string; privateKey?: string },
  ): Promise<RawSftp> {
    const { port } = settingsOf(this.node(index)).sftp;
    return RawSftp.connect({ host: "127.0.0.1", port, proxy: { source }, user, ...secret });
  }

  /** What a client hears that tries one password: let in, refused, or cut off before SSH began. */
  async guess(where: number | "haproxy", source: string, user: string, password: string): Promise<Heard> {
    try {
      const session = await (where === "haproxy"
        ? this.through(source, user, { password })
        : this.at(where, source, user, { password }));
      await session.end();
      return "in";
    } catch (error) {
      return /authentication methods failed/.test(String(error)) ? "refused" : "closed";
    }
  }

  /** Whether the node shows its SSH banner to this address. */
  async welcomes(index: number, source: string): Promise<boolean> {
    const { port } = settingsOf(this.node(index)).sftp;
    return await this.#greets(port, source);
  }

  async bans(index: number): Promise<string[]> {
    const { bans } = (await this.node(index).ask("/api/v1/bans")).body as {
      bans: { address: string; active: boolean }[];
    };
    return bans
      .filter(({ active }) => active)
      .map(({ address }) => address)
      .sort();
  }

  async metric(index: number, line: RegExp): Promise<number> {
    const { text } = await this.node(index).ask("/metrics");
    return Number(line.exec(text)?.[1] ?? Number.NaN);
  }

  async #greets(port: number, source?: string): Promise<boolean> {
    const { proxyHeader } = await import("../support/clients/dial.js");
    return await new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" }, () => {
        if (source !== undefined) socket.write(proxyHeader({ source }));
      });
      const end = (answer: boolean) => {
        clearTimeout(timer);
        socket.destroy();
        resolve(answer);
      };
      const timer = setTimeout(() => end(false), 5_000);
      socket.once("data", (data) => end(data.toString("latin1").startsWith("SSH-2.0-")));
      socket.once("error", () => end(false));
      socket.once("close", () => end(false));
    });
  }
}

async function startHaproxy(site: Site, nodes: readonly Node[]): Promise<{ haproxy: Started; port: number }> {
  const { haproxy: program } = ensurePackages({ haproxy: "haproxy" });
  const directory = join(site.directory, "haproxy");
  mkdirSync(directory, { mode: 0o700 });
  const [port = 0, stats = 0] = await freePorts(2);
  const at = (of: number) => ({ host: "127.0.0.1", port: of });
  const balanced = nodes.map((node) => {
    const { sftp, admin, agent } = settingsOf(node);
    return { name: node.name, host: "127.0.0.1", sftpPort: sftp.port, adminPort: admin.port, agentPort: agent.port };
  });
  const file = join(directory, "haproxy.cfg");
  const script = "end-sessions.lua";
  writeFileSync(join(directory, script), renderEndSessions({}));
  writeFileSync(
    file,
    renderBalancer({ sftp: [at(port)], nodes: balanced, stats: at(stats), socket: "haproxy.sock", script }),
  );
  return { haproxy: start(program, ["-db", "-f", file], { name: "haproxy", cwd: directory }), port };
}

export type Heard = "in" | "refused" | "closed";

export function settingsOf(node: Node) {
  return JSON.parse(readFileSync(node.settings, "utf8")) as Record<"sftp" | "admin" | "agent", { port: number }>;
}
