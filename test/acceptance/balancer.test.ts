import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { renderEndSessions } from "#balancer/end-sessions.js";
import { type BalancerOptions, renderBalancer } from "#balancer/template.js";
import { ensureAuthority, ensureLeaf } from "#cli/container/certificates.js";
import { until } from "#lib/testing.js";
import { report, run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";
import { type Site, startSite } from "../support/site.js";

/** The balancer before real nodes: what a partner notices when one dies, hangs, or is drained. */

test("HAProxy itself accepts the configuration in all its forms", async () => {
  const { haproxy } = ensurePackages({ haproxy: "haproxy" });
  const directory = mkdtempSync(join(tmpdir(), "longshore-haproxy-"));
  const plain: BalancerOptions = {
    sftp: [{ host: "127.0.0.1", port: 2022 }],
    nodes: [{ name: "node-1", host: "198.18.0.1", sftpPort: 2022, adminPort: 8080, agentPort: 8081 }],
    stats: { host: "127.0.0.1", port: 8404 },
    socket: "haproxy.sock",
    script: join(directory, "end-sessions.lua"),
  };
  const forms: readonly BalancerOptions[] = [
    plain,
    { ...plain, admin: { host: "127.0.0.1", port: 8000 } },
    {
      ...plain,
      admin: { host: "127.0.0.1", port: 8000 },
      adminTls: { caFile: join(directory, "ca.pem"), certificateFile: join(directory, "admin.pem") },
    },
    { ...plain, metrics: { host: "0.0.0.0", port: 8405 } },
    { ...plain, sftp: [...plain.sftp, { host: "::1", port: 2022 }], runAs: { user: "haproxy", group: "haproxy" } },
    { ...plain, log: "/dev/log local0", threads: 1, maxConnections: 100, checks: { intervalMs: 2_000, rise: 2 } },
  ];
  try {
    writeFileSync(plain.script, renderEndSessions(plain));
    const authority = { certificate: join(directory, "ca.pem"), key: join(directory, "ca.key") };
    const own = { certificate: join(directory, "own.pem"), key: join(directory, "own.key") };
    ensureAuthority(authority, "Test");
    ensureLeaf(own, authority, { name: "balancer", for: ["IP:127.0.0.1"], server: true });
    writeFileSync(join(directory, "admin.pem"), readFileSync(own.certificate, "utf8") + readFileSync(own.key, "utf8"));
    for (const [index, form] of forms.entries()) {
      const file = join(directory, `${index}.cfg`);
      writeFileSync(file, renderBalancer(form));
      const checked = succeeded(await run(haproxy, ["-c", "-f", file]));
      assert.doesNotMatch(checked.stderr, /WARNING|ALERT/, checked.stderr);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** A partner that has connected and seen the banner. */
interface Dialled {
  readonly socket: Socket;
  readonly ms: number;
  readonly closed: Promise<void>;
}

describe("a site's balancer", { timeout: 300_000 }, () => {
  let site: Site;
  const sockets = new Set<Socket>();
  before(async () => {
    site = await startSite();
  });
  after(async () => {
    hangUp();
    await site?.stop();
  });

  function hangUp(): void {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  }

  function dial(): Promise<Dialled> {
    const { host, port } = site.endpoints().sftp;
    const begun = performance.now();
    const socket = connect({ host, port });
    sockets.add(socket);
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    return new Promise((resolve, reject) => {
      socket.on("error", reject);
      void closed.then(() => reject(new Error(`closed without a banner after ${performance.now() - begun} ms`)));
      socket.once("data", (data) => {
        if (data.toString("latin1").startsWith("SSH-2.0-")) resolve({ socket, closed, ms: performance.now() - begun });
        else reject(new Error(`not a banner: ${data}`));
      });
    });
  }

  /**
   * As a partner's client does: dials again at once where the connection broke off. Between a kill and the end of the
   * process its kernel still accepts, for milliseconds, what nobody will ever serve; no balancer can see that.
   */
  async function dialUntilServed(): Promise<number> {
    const begun = performance.now();
    return until("a partner is served", async () => {
      // Hangs up at once: a node takes only so many that don't log in.
      (await dial()).socket.destroy();
      return performance.now() - begun;
    });
  }

  /** Dials until a connection is on that node. */
  async function dialNode(index: number): Promise<Dialled> {
    for (let tries = 0; tries < 20; tries++) {
      const dialled = await dial();
      if ((await site.nodeOfConnection(dialled.socket.localPort)) === index) return dialled;
    }
    throw new Error(`20 connections, and none is on node ${index}`);
  }

  async function backInRotation(index: number): Promise<void> {
    hangUp();
    await until(`HAProxy sees node ${index} up`, async () => (await statusInHaproxy(index)) === "UP");
  }

  /** `UP`, `DOWN`, `DRAIN (agent)` and the like. */
  async function statusInHaproxy(index: number): Promise<string> {
    const lines = (await site.haproxy("show stat")).split("\n");
    return lines.find((line) => line.startsWith(`sftp,${site.node(index).name},`))?.split(",")[17] ?? "";
  }

  test("spreads sessions evenly", async () => {
    await Promise.all([0, 1, 2].map((index) => backInRotation(index)));
    for (let count = 0; count < 12; count++) await dial();
    assert.deepEqual([...(await site.sessionsByNode()).values()], [4, 4, 4]);
    hangUp();
  });

  test("after kill -9 of a node new connections succeed within a second, and its sessions end", async () => {
    const times: number[] = [];
    for (let round = 0; round < 6; round++) {
      const index = round % 3;
      const running = await dialNode(index);
      const killed = performance.now();
      const before = site.killNode(index);
      // Partners keep coming, each a moment after the last, for as long as the node could be missed.
      while (performance.now() - killed < 1_500) times.push(await dialUntilServed());
      await running.closed;
      await site.nodeReady(index, before);
      await backInRotation(index);
    }
    times.sort((a, b) => a - b);
    const [p50, p99, most] = [0.5, 0.99, 1].map((share) => times[Math.ceil(times.length * share) - 1] ?? Number.NaN);
    report(
      `new connections within 1.5 s of kill -9, until served: ${times.length}, ${p50} / ${p99} / ${most} ms (p50/p99/max)`,
    );
    assert.ok(Number(most) < 1_000, `the slowest of ${times.length} connections took ${most} ms`);
  });

  test("leaves a node that hangs, and ends its sessions so that clients can come back", async () => {
    const running = await dialNode(1);
    site.killNode(1, "SIGSTOP");
    try {
      const stopped = performance.now();
      await running.closed;
      assert.ok(performance.now() - stopped < 4_000, `its session ended after ${performance.now() - stopped} ms`);
      for (let count = 0; count < 6; count++) assert.ok((await dial()).ms < 1_000);
    } finally {
      site.killNode(1, "SIGCONT");
    }
    await site.nodeReady(1);
    await backInRotation(1);
  });

  test("gives a drained node no new sessions and leaves the running ones alone, until it is undrained", async () => {
    const running = await dialNode(2);
    let ended = false;
    void running.closed.then(() => {
      ended = true;
    });
    await site.admin("/api/v1/nodes/node-3/drain", { method: "POST" });
    await until("HAProxy knows of the drain", async () => (await statusInHaproxy(2)).startsWith("DRAIN"));
    for (let count = 0; count < 9; count++) {
      const { socket } = await dial();
      assert.notEqual(await site.nodeOfConnection(socket.localPort), 2);
    }
    assert.equal(ended, false);
    assert.equal(await site.nodeOfConnection(running.socket.localPort), 2);
    await site.admin("/api/v1/nodes/node-3/undrain", { method: "POST" });
    await until("HAProxy knows of the end of the drain", async () => (await statusInHaproxy(2)) === "UP");
    assert.equal(ended, false);
    await dialNode(2);
  });

  test("takes partners to the last resort when every node drains, and the administrator can undrain them", async () => {
    const all = [0, 1, 2];
    for (const index of all) await site.admin(`/api/v1/nodes/${site.node(index).name}/drain`, { method: "POST" });
    for (const index of all) await until("drained", async () => (await statusInHaproxy(index)).startsWith("DRAIN"));
    await dial();
    for (const index of all) await site.admin(`/api/v1/nodes/${site.node(index).name}/undrain`, { method: "POST" });
    for (const index of all) await backInRotation(index);
  });
});
