import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client, type SFTPWrapper } from "ssh2";
import { pastChanges } from "#config/history.js";
import { keys } from "#coordination/keys.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { connect, keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

/** Three nodes, real etcd: what the model promises about changes while partners work and nodes die. */
let etcd: EtcdCluster;
let site: Site;
let nodes: Node[] = [];
let strangerKeyFile: string;
const clients: Client[] = [];
const PASSWORD = "a long secret";

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  strangerKeyFile = join(site.directory, "key-of-gamma");
  writeFileSync(strangerKeyFile, readFileSync(join(site.directory, "key")));
  nodes = await Promise.all([
    site.node("alpha", 1),
    site.node("beta", 2),
    site.node("gamma", 3, { clusterKeyFile: strangerKeyFile }),
  ]);
  await Promise.all(nodes.map((node) => node.ready()));
});
after(async () => {
  for (const client of clients) client.end();
  await Promise.all(nodes.map((node) => node.process.kill()));
  await etcd.stop();
  site.remove();
});

const at = (index: number) => nodes[index] as Node;

async function write(path: string, body: object, node = at(0)): Promise<number> {
  const answer = await node.ask(path, { method: "PUT", body });
  assert.ok(answer.status === 200 || answer.status === 201, `${path}: ${answer.status} ${answer.text}`);
  return Number(answer.body.revision);
}

async function converged(revision: number, ms = 5_000): Promise<void> {
  await until(
    `revision ${revision} is everywhere`,
    async () => {
      const { body } = await at(0).ask(`/api/v1/cluster/convergence?revision=${revision}`);
      return body.converged;
    },
    { deadlineMs: ms },
  );
}

async function sftp(node: Node, username: string): Promise<SFTPWrapper> {
  const { sftp } = JSON.parse(readFileSync(node.settings, "utf8")) as { sftp: { port: number } };
  const client = new Client();
  clients.push(client);
  return await new Promise((resolve, reject) => {
    client.on("error", reject);
    client.on("ready", () => client.sftp((error, session) => (error ? reject(error) : resolve(session))));
    client.connect({ host: "127.0.0.1", port: sftp.port, username, password: PASSWORD, readyTimeout: 20_000 });
  });
}

/** The SFTP status of an MKDIR: 0 where it was made, 3 where it isn't allowed. */
const mkdir = (session: SFTPWrapper, path: string) =>
  new Promise<number>((resolve) => {
    session.mkdir(path, (error) => resolve(error ? Number((error as { code?: number }).code) : 0));
  });

test("a change of a group's permissions and folders is in force in running sessions of all nodes within a second", async () => {
  await write("/api/v1/groups/partners", { home: "partners/{account}" });
  await converged(await write("/api/v1/accounts/ann", { password: PASSWORD, groups: ["partners"] }));
  const sessions = await Promise.all(nodes.map((node) => sftp(node, "ann")));
  for (const [index, session] of sessions.entries()) assert.equal(await mkdir(session, `/before-${index}`), 0);

  for (const round of [1, 2, 3]) {
    const readOnly = [{ path: "/", allow: ["list", "read"] }];
    await write("/api/v1/groups/partners", { permissions: readOnly, description: `${round}` }, at(round % 3));
    const changed = performance.now();
    await Promise.all(
      sessions.map((session, index) =>
        until(`node ${index} refuses`, async () => (await mkdir(session, `/n-${round}-${performance.now()}`)) === 3, {
          deadlineMs: 1_000,
          everyMs: 10,
        }),
      ),
    );
    assert.ok(performance.now() - changed < 1_000);

    const folders = [{ path: "/inbox", target: "common/inbox", allow: ["list", "read", "mkdir"] }];
    await write("/api/v1/groups/partners", { permissions: readOnly, folders }, at((round + 1) % 3));
    await Promise.all(
      sessions.map((session, index) =>
        until(
          `node ${index} allows it in the folder`,
          async () => (await mkdir(session, `/inbox/${round}-${index}-${performance.now()}`)) === 0,
          { deadlineMs: 1_000, everyMs: 10 },
        ),
      ),
    );
  }
});

test("20 administrators change the same and different entries through all nodes while one is killed: no update is lost, none is half", async () => {
  const WRITERS = 20;
  /** Few enough that the history, which the checker reads, holds all of it. */
  const EACH = 3;
  await write("/api/v1/groups/counter", { maxSessions: 1 });
  const pair = (n: number) => ({ groups: { one: { maxSessions: n }, two: { maxSessions: n } } });
  await write("/api/v1/config?prune=false", pair(1));
  /** Values whose write was acknowledged. */
  const acknowledged: number[] = [];
  const pairsSeen: string[] = [];
  let done = 0;

  const administrator = async (id: number) => {
    let node = id % 3;
    for (let left = EACH; left > 0; ) {
      const read = await at(node).ask("/api/v1/groups/counter");
      if (read.status !== 200) {
        node = (node + 1) % 3;
        continue;
      }
      const next = Number(read.body.maxSessions) + 1;
      const answer = await at(node).ask("/api/v1/groups/counter", {
        method: "PUT",
        body: { ...read.body, maxSessions: next },
        headers: { "if-match": read.etag ?? "" },
      });
      if (answer.status !== 200) {
        assert.ok([0, 412, 503, 504].includes(answer.status), `${answer.status} ${answer.text}`);
        continue;
      }
      acknowledged.push(next);
      left -= 1;
      await at(node).ask(`/api/v1/accounts/own-${id}`, { method: "PUT", body: { description: String(left) } });
      if (id < 3) await at(node).ask("/api/v1/config?prune=false", { method: "PUT", body: pair(id * EACH + left + 2) });
    }
    done += 1;
  };
  const watcher = async () => {
    while (done < WRITERS) {
      const { status, body } = await at(0).ask("/api/v1/config");
      if (status !== 200) continue;
      const { groups } = body.document as { groups: Record<string, { maxSessions: number }> };
      pairsSeen.push(`${groups.one?.maxSessions === groups.two?.maxSessions}`);
    }
  };
  const killer = async () => {
    await until("half of it is done", () => acknowledged.length >= (WRITERS * EACH) / 2, { deadlineMs: 60_000 });
    await at(2).process.kill();
    at(2).launch();
    await at(2).ready();
  };
  await Promise.all([watcher(), killer(), ...Array.from({ length: WRITERS }, (_, id) => administrator(id))]);

  // The checker: each change of the counter replaced the value of the one before it, and each acknowledged one is there.
  const coordination = connect(etcd.endpoints, "test");
  const history = await pastChanges(coordination);
  await coordination.close();
  const counted = (text: string | null) =>
    text === null ? 0 : (JSON.parse(text) as { maxSessions: number }).maxSessions;
  const replaced = history
    .toReversed()
    .flatMap((change) =>
      change.replaced.filter(({ key }) => key === keys.group("counter")).map(({ before }) => counted(before)),
    );
  const last = Number((await at(0).ask("/api/v1/groups/counter")).body.maxSessions);
  const values = [...replaced, last];
  assert.deepEqual(
    values,
    values.map((_, index) => index),
    "an update was lost",
  );
  assert.equal(new Set(acknowledged).size, acknowledged.length, "two writers were told the same");
  assert.equal(acknowledged.length, WRITERS * EACH);
  for (const value of acknowledged) assert.ok(values.includes(value), `${value} was acknowledged and isn't there`);
  assert.ok(pairsSeen.length > 5 && !pairsSeen.includes("false"), `${pairsSeen.length} looks at the pair`);
  const own = await Promise.all(
    Array.from({ length: WRITERS }, async (_, id) => (await at(1).ask(`/api/v1/accounts/own-${id}`)).status),
  );
  assert.deepEqual(new Set(own), new Set([200]));
});

test("the cluster key is replaced on three nodes without a restart and without a moment when something can't be read", async () => {
  await write("/api/v1/keys/bank", {
    publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q",
    secret: "private part",
  });
  const pids = nodes.map((node) => node.process.pid);
  const files = [join(site.directory, "key"), strangerKeyFile];
  const older = readFileSync(files[0] ?? "", "utf8").trim();
  const newer = randomBytes(32).toString("base64");
  const put = (text: string, ...of: string[]) => of.forEach((file) => void writeFileSync(file, text));
  /** As any node knows it of any: a heartbeat doesn't reach all at one moment. */
  const sealKeys = async () => {
    const told = await Promise.all(nodes.map((node) => node.ask("/api/v1/nodes")));
    return told.flatMap(({ body }) =>
      (body.nodes as { sealKeys?: string[] }[]).map((node) => node.sealKeys?.join(" ") ?? ""),
    );
  };
  const faults = async () =>
    (await Promise.all(nodes.map((node) => node.ask("/api/v1/status")))).map(
      ({ body }) => (body.config as { faults: unknown[] }).faults.length,
    );
  const mismatch = async () => /^longshore_config_mismatch\S* 1$/m.test((await at(0).ask("/metrics")).text);

  // Two of three nodes have it: the site says that they differ, and refuses to rotate.
  put(`${newer}\n${older}\n`, files[0] ?? "");
  await until(
    "two nodes have both keys",
    async () => (await sealKeys()).filter((ids) => ids.includes(" ")).length === 2 * nodes.length,
    { deadlineMs: 10_000 },
  );
  await until("the mismatch is seen", mismatch, { deadlineMs: 5_000 });
  const early = await at(0).ask("/api/v1/config/rotate-key", { method: "POST" });
  assert.equal(early.status, 409, early.text);
  assert.match(early.text, /gamma/);

  put(`${newer}\n${older}\n`, strangerKeyFile);
  await until("all have both keys", async () => (await sealKeys()).every((ids) => ids.includes(" ")), {
    deadlineMs: 10_000,
  });
  const rotated = await at(1).ask("/api/v1/config/rotate-key", { method: "POST" });
  assert.equal(rotated.status, 200, rotated.text);
  assert.ok(Number(rotated.body.resealed) >= 4, rotated.text);
  assert.deepEqual(await faults(), [0, 0, 0]);

  put(newer, ...files);
  await until("none has the old key", async () => (await sealKeys()).every((ids) => !ids.includes(" ")), {
    deadlineMs: 10_000,
  });
  await converged(await write("/api/v1/groups/after", {}, at(2)));
  assert.deepEqual(await faults(), [0, 0, 0]);
  await until("no mismatch is left", async () => !(await mismatch()), { deadlineMs: 5_000 });
  assert.deepEqual(
    nodes.map((node) => node.process.pid),
    pids,
  );
  await Promise.all(nodes.map((node) => sftp(node, "ann")));
  // A node that starts with the new key alone reads everything.
  await at(2).process.kill();
  at(2).launch();
  await at(2).ready();
});
