import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type BalancerOptions, renderBalancer } from "#balancer/template.js";
import { run, succeeded, until } from "../support/clients/run.js";
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
  };
  const forms: readonly BalancerOptions[] = [
    plain,
    { ...plain, admin: { host: "127.0.0.1", port: 8000 } },
    { ...plain, sftp: [...plain.sftp, { host: "::1", port: 2022 }], runAs: { user: "haproxy", group: "haproxy" } },
    { ...plain, log: "/dev/log local0", threads: 1, maxConnections: 100, checks: { intervalMs: 2_000, rise: 2 } },
  ];
  try {
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
    const { name } = site.node(index);
    await until(`HAProxy sees ${name} up`, async () => {
      const line = (await site.haproxy("show stat")).split("\n").find((each) => each.startsWith(`sftp,${name},`));
      return line?.split(",")[17] === "UP";
    });
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
      while (performance.now() - killed < 1_500) times.push((await dial()).ms);
      await running.closed;
      await site.nodeReady(index, before);
      await backInRotation(index);
    }
    times.sort((a, b) => a - b);
    const p99 = times[Math.ceil(times.length * 0.99) - 1] ?? Number.POSITIVE_INFINITY;
    assert.ok(p99 < 1_000, `p99 of ${times.length} connections is ${p99} ms`);
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
    const state = async () =>
      (await site.haproxy("show stat"))
        .split("\n")
        .find((line) => line.startsWith("sftp,node-3,"))
        ?.split(",")[17];
    await until("HAProxy knows of the drain", async () => (await state()) === "DRAIN");
    for (let count = 0; count < 9; count++) {
      const { socket } = await dial();
      assert.notEqual(await site.nodeOfConnection(socket.localPort), 2);
    }
    assert.equal(ended, false);
    assert.equal(await site.nodeOfConnection(running.socket.localPort), 2);
    // All drained: no partner gets in, but the administrator must, to take it back.
    for (const name of ["node-1", "node-2"]) await site.admin(`/api/v1/nodes/${name}/drain`, { method: "POST" });
    for (const name of ["node-1", "node-2", "node-3"])
      await site.admin(`/api/v1/nodes/${name}/undrain`, { method: "POST" });
    await until("HAProxy knows of the end of the drain", async () => (await state()) === "UP");
    assert.equal(ended, false);
    await dialNode(2);
  });
});
