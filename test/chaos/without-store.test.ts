import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { type Node, Site } from "../cluster/node-process.js";
import { bytes } from "../support/clients/content.js";
import { codeOf, Open, RawSftp, Status } from "../support/clients/raw-sftp.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { startSite } from "../support/site.js";
import { TcpProxy } from "../support/tcp-proxy.js";

/** Nodes that are started while the store is away: they serve what they may with the configuration on their own disk. */

const CONTENT = bytes(300_000, "without-store");
const PASSWORD = "ann-Pa55 word";

let etcd: EtcdCluster;
let site: Site;
let node: Node;
let sftpPort: number;

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  node = await site.node("alpha", 1);
  sftpPort = portOf(node);
  await node.ready();
  assert.equal((await node.ask("/api/v1/accounts/ann", { method: "PUT", body: { password: PASSWORD } })).status, 201);
  const session = await login(sftpPort);
  await session.put("/kept", CONTENT);
  await session.end();
});
after(async () => {
  await node?.process.kill();
  await etcd?.stop();
  site?.remove();
});

function portOf({ settings }: Node): number {
  return (JSON.parse(readFileSync(settings, "utf8")) as { sftp: { port: number } }).sftp.port;
}

function login(port: number): Promise<RawSftp> {
  return RawSftp.connect({ host: "127.0.0.1", port, user: "ann", password: PASSWORD, deadlineMs: 5_000 });
}

async function contactOf(name: string): Promise<number> {
  try {
    const text = readFileSync(join(site.directory, name, "config-contact"), "utf8");
    return (JSON.parse(text) as { revision: number }).revision;
  } catch {
    return 0;
  }
}

/** Resolves when the node keeps at least this configuration on its disk and knows that it is current. */
async function kept(of: Node, revision: number): Promise<void> {
  await until(`${of.name} keeps revision ${revision}`, async () => (await contactOf(of.name)) >= revision, {
    deadlineMs: 10_000,
  });
}

/** Closed uploads whose commit is owed. */
function owed(): number {
  return readdirSync(join(site.directory, "storage", ".longshore", "closed")).length;
}

async function revisionOf(of: Node): Promise<number> {
  const { config } = (await of.ask("/api/v1/status")).body as { config: { revision: number } };
  return config.revision;
}

async function changeSite(of: Node, change: Record<string, unknown>): Promise<number> {
  const read = await of.ask("/api/v1/site");
  const body = { ...read.body, ...change };
  const put = await of.ask("/api/v1/site", { method: "PUT", body, headers: { "if-match": read.etag ?? "" } });
  assert.equal(put.status, 200, put.text);
  return Number(put.body.revision);
}

async function restart(of: Node, signal: "kill" | "term" = "kill"): Promise<void> {
  if (signal === "kill") await of.process.kill();
  else {
    of.process.signal("SIGTERM");
    await of.process.exited;
  }
  of.launch();
}

test("a node started while etcd is down lets known accounts log in and download, and says that it is cut off", async () => {
  await kept(node, await revisionOf(node));
  await etcd.members[0]?.kill();
  await restart(node);
  await until("it is cut off", async () => (await node.state()) === "cut-off", { deadlineMs: 15_000 });
  const session = await until("a login", () => login(sftpPort), { deadlineMs: 15_000 });
  assert.ok((await session.get("/kept")).equals(CONTENT), "downloads work");
  assert.equal((await node.ask("/health/ready")).status, 503);
  assert.equal((await node.ask("/health/serving")).status, 200, "the balancer's last resort");
  assert.match(String((await node.ask("/health/ready")).body.reasons), /store doesn't answer/);
  assert.equal((await node.ask("/api/v1/accounts/bob", { method: "PUT", body: {} })).status, 503, "no change is taken");
  await assert.rejects(
    RawSftp.connect({ host: "127.0.0.1", port: sftpPort, user: "bob", password: PASSWORD, deadlineMs: 5_000 }),
  );
  const begun = performance.now();
  const upload = await session.open("/new", Open.W | Open.C | Open.T);
  await assert.rejects(session.write(upload, 0, CONTENT.subarray(0, 32_000)), /cut off from the site/);
  assert.ok(performance.now() - begun < 15_000, "an upload gets its error in time");
  await assert.rejects(session.close(upload));
  assert.equal((await session.stat("/new")).size, 31_999, "its partial is kept");
  assert.ok((await session.get("/kept")).equals(CONTENT), "the session goes on after it");
  await session.end();
});

test("an upload that is closed without etcd hears an error, and is committed by itself when etcd is back", async () => {
  const session = await login(sftpPort);
  const handle = await session.open("/closed", Open.W | Open.C | Open.T);
  await assert.rejects(session.close(handle), /cut off from the site|outcome/);
  await session.end();
  assert.equal(owed(), 1, "it is noted as owed");
});

test("an upload opened without etcd ends well when etcd is back in time; what was left partial is resumed", async () => {
  const session = await login(sftpPort);
  const handle = await session.open("/in-time", Open.W | Open.C | Open.T);
  const written = session.writeAll(handle, CONTENT);
  await etcd.members[0]?.restart();
  await written;
  await session.close(handle);
  assert.ok((await session.get("/in-time")).equals(CONTENT));
  const from = (await session.stat("/new")).size ?? 0;
  await session.put("/new", CONTENT.subarray(from), Open.W | Open.C, from);
  assert.ok((await session.get("/new")).equals(CONTENT), "the partial of an unregistered process is taken over");
  await until("the owed one is committed", async () => owed() === 0 && (await codeOf(session.stat("/closed"))) === 0, {
    deadlineMs: 15_000,
  });
  assert.equal((await session.stat("/closed")).size, 0);
  await session.end();
  await etcd.members[0]?.kill();
  await until("it is cut off again", async () => (await node.state()) === "cut-off", { deadlineMs: 15_000 });
});

test("etcd back: the node is ready within 5 s by itself, and uploads work in a session that began without it", async () => {
  const session = await login(sftpPort);
  await etcd.members[0]?.restart();
  await until("it is ready", async () => (await node.state()) === "ready", { deadlineMs: 5_000 });
  await session.put("/after", CONTENT);
  assert.ok((await session.get("/after")).equals(CONTENT));
  await session.end();
});

test("an upload under way when the store goes keeps its partial, over a restart without the store", async () => {
  const session = await login(sftpPort);
  const handle = await session.open("/half", Open.W | Open.C | Open.T);
  await session.writeAll(handle, CONTENT.subarray(0, 200_000));
  await kept(node, await revisionOf(node));
  await etcd.members[0]?.kill();
  await until("it is cut off", async () => (await node.state()) === "cut-off", { deadlineMs: 15_000 });
  assert.notEqual(await codeOf(session.write(handle, 200_000, CONTENT.subarray(200_000, 232_768))), Status.OK);
  await restart(node, "term");
  const again = await until("a login", () => login(sftpPort), { deadlineMs: 20_000 });
  const { size = 0 } = await again.stat("/half");
  assert.ok(size >= 199_999, `the partial has ${size} bytes`);
  await again.end();
  await etcd.members[0]?.restart();
  await until("it is ready", async () => (await node.state()) === "ready", { deadlineMs: 5_000 });
  const last = await login(sftpPort);
  const from = (await last.stat("/half")).size ?? 0;
  await last.put("/half", CONTENT.subarray(from), Open.W | Open.C, from);
  assert.ok((await last.get("/half")).equals(CONTENT), "and it was resumed");
  await last.end();
});

test("an account disabled meanwhile: the node that can't know serves it for the grace, restart or not, and then nobody", async () => {
  const [endpoint = ""] = etcd.endpoints;
  const proxy = await TcpProxy.start(endpoint);
  const lost = await site.node("beta", 2, { coordination: { kind: "etcd", endpoints: [proxy.address] } });
  try {
    await lost.ready();
    const revision = await changeSite(node, { cutOffGraceSeconds: 12 });
    await kept(lost, revision);
    proxy.stall();
    const lostAt = performance.now();
    const disabled = await node.ask("/api/v1/accounts/ann", { method: "PUT", body: { enabled: false } });
    assert.equal(disabled.status, 200);
    const known = Number(disabled.body.revision);
    await until(
      "it is known where the store is",
      async () => {
        const { body } = await node.ask("/api/v1/status");
        return (body.config as { revision: number }).revision >= known;
      },
      { deadlineMs: 1_000 },
    );
    await assert.rejects(login(sftpPort), "where it is known, it counts at once");
    await until("beta is cut off", async () => (await lost.state()) === "cut-off", { deadlineMs: 6_000 });
    await restart(lost);
    const session = await until("a login", () => login(portOf(lost)), { deadlineMs: 8_000 });
    assert.ok((await session.get("/kept")).equals(CONTENT));
    await until(
      "its session is ended",
      async () => {
        const { status } = await lost.ask("/health/serving");
        return status === 503;
      },
      { deadlineMs: 15_000 },
    );
    const servedMs = performance.now() - lostAt;
    // The last contact was at most a look (2 s) before the stall.
    assert.ok(servedMs < 13_500, `it served for ${Math.round(servedMs)} ms`);
    assert.ok(servedMs > 8_000, `it served for ${Math.round(servedMs)} ms only`);
    await assert.rejects(login(portOf(lost)));
    await restart(lost);
    await until("it says that it waits", () => /too old to serve with/.test(lost.process.output), {
      deadlineMs: 15_000,
    });
    await assert.rejects(login(portOf(lost)), "a restart gives it no more time");
    proxy.resume();
    await lost.ready(15_000);
    await assert.rejects(login(portOf(lost)), "now it knows");
  } finally {
    await lost.process.kill();
    await proxy.close();
    assert.equal((await node.ask("/api/v1/accounts/ann", { method: "PUT", body: { enabled: true } })).status, 200);
  }
});

test("with a grace of 0 nobody is served without the store; nor with a snapshot that somebody changed", async () => {
  const file = join(site.directory, "alpha", "config-snapshot");
  await kept(node, await revisionOf(node));
  await etcd.members[0]?.kill();
  await node.process.kill();
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replaceAll('\\"name\\":\\"ann\\"', '\\"name\\":\\"eve\\"'));
  node.launch();
  await until("it says why", () => /is not used.*was changed/.test(node.process.output), { deadlineMs: 15_000 });
  assert.equal(await node.state(), "joining");
  await assert.rejects(login(sftpPort));
  await etcd.members[0]?.restart();
  await node.ready();
  await kept(node, await changeSite(node, { cutOffGraceSeconds: 0 }));
  const session = await login(sftpPort);
  await etcd.members[0]?.kill();
  await until("it serves nobody", async () => (await node.ask("/health/serving")).status === 503, {
    deadlineMs: 10_000,
  });
  await until("the session is ended", async () => (await codeOf(session.stat("/kept")).catch(() => -1)) !== 0, {
    deadlineMs: 5_000,
  });
  await restart(node);
  await until("it waits for the store", () => /too old to serve with/.test(node.process.output), {
    deadlineMs: 15_000,
  });
  await assert.rejects(login(sftpPort));
  await etcd.members[0]?.restart();
  await node.ready();
});

test("behind the balancer: etcd hangs, every node is killed, and partners still log in and download at the site's address", async () => {
  const whole = await startSite({ nodes: 2 });
  try {
    await whole.addAccount("ann", { password: PASSWORD });
    const session = () =>
      RawSftp.connect({ ...whole.endpoints().sftp, user: "ann", password: PASSWORD, deadlineMs: 5_000 });
    const first = await session();
    await first.put("/kept", CONTENT);
    await first.end();
    await whole.admin("/api/v1/bans", { method: "POST", body: { address: "192.0.2.66" } });
    const from = (source: string, at: number) => {
      const { sftpPort: port } = whole.node(at);
      const options = { host: "127.0.0.1", port, user: "ann", password: PASSWORD, deadlineMs: 5_000 };
      return RawSftp.connect({ ...options, proxy: { source } });
    };
    for (const { name } of whole.endpoints().nodes) {
      const file = join(whole.directory, "nodes", name, "data", "security-snapshot");
      await until(`${name} keeps the ban`, () => readFileSync(file, "utf8").includes("192.0.2.66"), {
        deadlineMs: 10_000,
      });
    }
    const { revision } = ((await whole.admin("/api/v1/status")) as { config: { revision: number } }).config;
    for (const { name } of whole.endpoints().nodes) {
      const contact = join(whole.directory, "nodes", name, "data", "config-contact");
      await until(
        `${name} keeps it`,
        async () => {
          return (JSON.parse(readFileSync(contact, "utf8")) as { revision: number }).revision >= revision;
        },
        { deadlineMs: 10_000 },
      );
    }
    const pid = whole.endpoints().etcd?.pid;
    assert.ok(typeof pid === "number");
    process.kill(pid, "SIGSTOP");
    try {
      const before = [whole.killNode(0), whole.killNode(1)];
      await until(
        "both run again",
        () => [0, 1].every((at) => whole.node(at).pid !== null && whole.node(at).pid !== before[at]),
        { deadlineMs: 20_000 },
      );
      const again = await until("a login through the balancer", session, { deadlineMs: 30_000 });
      assert.ok((await again.get("/kept")).equals(CONTENT));
      await again.end();
      for (const at of [0, 1]) {
        const allowed = await until("a login at the node itself", () => from("192.0.2.67", at), { deadlineMs: 15_000 });
        await allowed.end();
        await assert.rejects(from("192.0.2.66", at), "a banned address stays banned");
      }
    } finally {
      process.kill(pid, "SIGCONT");
    }
    for (const at of [0, 1]) await whole.nodeReady(at, undefined, 10_000);
  } finally {
    await whole.stop();
  }
});
