import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { EXIT } from "#cli/errors.js";
import { fetchHostKeys } from "#cli/up/host-key-scan.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { keys } from "#coordination/keys.js";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { Open, RawSftp } from "../support/clients/raw-sftp.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { longshore } from "../support/site.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

/** `longshore backup` and `restore` on real nodes: onto the same site while it works, a fresh site, a standalone node. */

const CONTENT = bytes(600_000, "backup");
const PASSWORD = "ann-Pa55 word";

let etcd: EtcdCluster;
let site: Site;
let nodes: Node[];
let keyFile: string;
let backupFile: string;
const others: { node: Node; site: Site }[] = [];

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  nodes = await Promise.all(["alpha", "beta", "gamma"].map((name, at) => site.node(name, at + 1)));
  await Promise.all(nodes.map((node) => node.ready()));
  keyFile = join(site.directory, "backup-key");
  backupFile = join(site.directory, "site.backup");
  writeFileSync(keyFile, `${randomBytes(32).toString("base64")}\n`);
  for (const name of ["ann", "bob"]) await putAccount(one(0), name, { password: PASSWORD });
});
after(async () => {
  for (const node of [...(nodes ?? []), ...others.map((each) => each.node)]) await node.process.kill();
  await etcd?.stop();
  for (const each of [site, ...others.map((other) => other.site)]) each?.remove();
});

function one(at: number): Node {
  const node = nodes[at];
  assert.ok(node);
  return node;
}

async function putAccount(node: Node, name: string, body: unknown): Promise<void> {
  const { status, text } = await node.ask(`/api/v1/accounts/${name}`, { method: "PUT", body });
  assert.ok(status === 200 || status === 201, text);
}

function portOf({ settings }: Node): number {
  return (JSON.parse(readFileSync(settings, "utf8")) as { sftp: { port: number } }).sftp.port;
}

function login(node: Node, user = "ann"): Promise<RawSftp> {
  return RawSftp.connect({ host: "127.0.0.1", port: portOf(node), user, password: PASSWORD, deadlineMs: 5_000 });
}

function cli(of: Site, node: Node, ...args: readonly string[]) {
  return longshore([...args, "--url", node.url, "--token-file", join(of.directory, "token"), "--key-file", keyFile]);
}

async function backup(...more: readonly string[]) {
  const done = await cli(site, one(1), "backup", backupFile, "--force", "-o", "json", ...more);
  assert.equal(done.code, 0, done.stderr);
  return JSON.parse(done.stdout) as { entries: number; revision: number; scope: string };
}

async function accounts(node: Node): Promise<Map<string, unknown>> {
  const { body } = await node.ask("/api/v1/accounts");
  const list = body.accounts as { name: string; revision: number }[];
  return new Map(list.map(({ revision: _revision, ...account }) => [account.name, account]));
}

async function hostKeys(node: Node): Promise<string> {
  const found = await fetchHostKeys({ host: "127.0.0.1", port: portOf(node) });
  return createHash("sha256").update(JSON.stringify(found)).digest("hex");
}

async function fresh(of: Site, more: Record<string, unknown> = {}): Promise<Node> {
  const node = await of.node("fresh", 1, more);
  others.push({ node, site: of });
  await node.ready();
  return node;
}

test("a backup is one encrypted file, says what it holds, and is seen in the metrics of every node", async () => {
  const { entries, revision, scope } = await backup();
  assert.equal(scope, "shared");
  assert.ok(entries >= 6 && revision > 0);
  assert.equal(statSync(backupFile).mode & 0o777, 0o600);
  const text = readFileSync(backupFile, "latin1");
  assert.match(text, /^longshore-backup 1\n/);
  assert.doesNotMatch(text, /ann|argon2|manifest/);
  for (const node of nodes) {
    await until(
      `${node.name} knows of it`,
      async () => /^longshore_last_backup_timestamp_seconds \d/m.test((await node.ask("/metrics")).text),
      { deadlineMs: 5_000 },
    );
  }
  const there = await cli(site, one(0), "backup", backupFile);
  assert.equal(there.code, EXIT.conflict, "a backup isn't replaced by mistake");
});

test("restored live: what changed goes back, a dry run says so first, and a running transfer never notices", async () => {
  const before = await accounts(one(0));
  await putAccount(one(2), "eve", { password: PASSWORD });
  await putAccount(one(2), "bob", { enabled: false });
  const session = await login(one(0));
  const handle = await session.open("/running", Open.W | Open.C | Open.T);
  await session.writeAll(handle, CONTENT.subarray(0, 300_000));
  const dry = await cli(site, one(1), "restore", backupFile, "--dry-run");
  assert.equal(dry.code, 0, dry.stderr);
  assert.match(
    dry.stdout,
    /^~ config\/accounts\/bob\n- config\/accounts\/eve\nwould be: 0 added, 1 changed, 1 removed/,
  );
  assert.ok((await accounts(one(0))).has("eve"));
  const done = await cli(site, one(1), "restore", backupFile, "-o", "json");
  assert.equal(done.code, 0, done.stderr);
  const { revision } = JSON.parse(done.stdout) as { revision: number };
  await until(
    "it is in force everywhere",
    async () => {
      const { body } = await one(0).ask(`/api/v1/cluster/convergence?revision=${revision}`);
      return body.converged;
    },
    { deadlineMs: 3_000 },
  );
  assert.deepEqual(await accounts(one(0)), before);
  await (await login(one(2), "bob")).end();
  await assert.rejects(login(one(2), "eve"));
  await session.writeAll(handle, CONTENT.subarray(300_000), 300_000);
  await session.close(handle);
  assert.ok((await session.get("/running")).equals(CONTENT), "the transfer went on");
  await session.end();
});

test("a damaged backup, a cut one and a wrong key are refused before anything is touched", async () => {
  const file = readFileSync(backupFile);
  const damaged = join(site.directory, "damaged");
  const revision = async () => (await one(0).ask("/api/v1/status")).body.config;
  const before = await revision();
  const flipped = Buffer.from(file);
  flipped.writeUInt8(flipped.readUInt8(file.length >> 1) ^ 1, file.length >> 1);
  for (const content of [flipped, file.subarray(0, file.length - 1), file.subarray(0, 100), Buffer.from("x")]) {
    writeFileSync(damaged, content);
    const done = await cli(site, one(0), "restore", damaged);
    assert.equal(done.code, EXIT.failed);
    assert.match(done.stderr, /damaged|isn't a backup/);
  }
  const wrong = join(site.directory, "wrong-key");
  writeFileSync(wrong, randomBytes(32).toString("base64"));
  const done = await longshore([
    "restore",
    backupFile,
    "--key-file",
    wrong,
    "--url",
    one(0).url,
    "--token-file",
    join(site.directory, "token"),
  ]);
  assert.equal(done.code, EXIT.failed);
  assert.match(done.stderr, /the key is another one/);
  const direct = await fetch(new URL("/api/v1/restore", one(0).url), {
    method: "POST",
    headers: { authorization: `Bearer ${site.token}`, "content-type": "application/x-tar" },
    body: new Uint8Array(file),
  });
  assert.equal(direct.status, 422, "the node checks for itself");
  assert.deepEqual(await revision(), before);
});

test("onto a fresh site with another cluster key: accounts, passwords and host keys are the same", async () => {
  const other = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  const node = await fresh(other, { site: "fresh" });
  await backup();
  const refused = await cli(other, node, "restore", backupFile);
  assert.equal(refused.code, EXIT.conflict);
  assert.match(refused.stderr, /--with-cluster-key/);
  await backup("--with-cluster-key", join(site.directory, "key"));
  assert.notEqual(await hostKeys(node), await hostKeys(one(0)));
  const done = await cli(other, node, "restore", backupFile);
  assert.equal(done.code, 0, done.stderr);
  await until("its host keys are the site's", async () => (await hostKeys(node)) === (await hostKeys(one(0))), {
    deadlineMs: 5_000,
  });
  assert.deepEqual(await accounts(node), await accounts(one(0)));
  const session = await login(node);
  await session.put("/first", CONTENT);
  await session.end();
  assert.equal(await node.state(), "ready", "the storage is still its own");
});

test("from a site to a standalone node, and one node's own data to a host that is built anew", async () => {
  const alone = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  const node = await fresh(alone);
  const done = await cli(alone, node, "restore", backupFile);
  assert.equal(done.code, 0, done.stderr);
  assert.deepEqual(await accounts(node), await accounts(one(0)));
  await until("its host keys are the site's", async () => (await hostKeys(node)) === (await hostKeys(one(0))), {
    deadlineMs: 5_000,
  });
  await backup("--scope", "node");
  assert.equal((await cli(alone, node, "restore", backupFile)).code, EXIT.usage, "that holds no shared data");
  const rebuilt = join(site.directory, "rebuilt");
  const written = await longshore(["restore", backupFile, "--key-file", keyFile, "--node-to", rebuilt]);
  assert.equal(written.code, 0, written.stderr);
  assert.equal(
    readFileSync(join(rebuilt, "node-id"), "utf8"),
    readFileSync(join(site.directory, "beta", "node-id"), "utf8"),
  );
  assert.equal((JSON.parse(readFileSync(join(rebuilt, "settings.json"), "utf8")) as { name: string }).name, "beta");
});

test("a restore of 3,000 accounts, past one transaction: at no time has a node half of them", async () => {
  const list = Array.from({ length: 3_000 }, (_, at) => `many-${at}`);
  const home = { home: "many" };
  for (let from = 0; from < list.length; from += 50) {
    await Promise.all(list.slice(from, from + 50).map((name, at) => putAccount(one(at % 3), name, home)));
  }
  await backup();
  const empty = join(site.directory, "empty.backup");
  const all = (await accounts(one(0))).size;
  const other = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  writeFileSync(join(other.directory, "key"), readFileSync(join(site.directory, "key")));
  const node = await fresh(other);
  assert.equal((await cli(other, node, "backup", empty)).code, 0);
  const seen = new Set<number>();
  let watching = true;
  const watch = (async () => {
    while (watching) {
      const { body } = await one(2).ask("/api/v1/status");
      seen.add((body.config as { revision: number }).revision);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const started = performance.now();
  const cleared = await cli(site, one(0), "restore", empty, "-o", "json");
  assert.equal(cleared.code, 0, cleared.stderr);
  const clearedMs = performance.now() - started;
  assert.equal((await accounts(one(0))).size, 0);
  const filled = await cli(site, one(1), "restore", backupFile, "-o", "json");
  assert.equal(filled.code, 0, filled.stderr);
  const { revision } = JSON.parse(filled.stdout) as { revision: number };
  await until(
    "it is in force everywhere",
    async () => {
      const { body } = await one(0).ask(`/api/v1/cluster/convergence?revision=${revision}`);
      return body.converged;
    },
    { deadlineMs: 10_000 },
  );
  watching = false;
  await watch;
  assert.equal((await accounts(one(0))).size, all);
  assert.ok(seen.size <= 3, `before, cleared and restored: ${[...seen].join()}`);
  const words = nodes.map(({ process }) => process.output).join("\n");
  assert.match(words, /a change of the whole site is on its way/);
  assert.ok(clearedMs < 30_000, `${Math.round(clearedMs)} ms`);
});

test("a node that dies in the middle of a restore, past the point of no return: another one finishes it within 10 s", async () => {
  const store = createEtcdCoordination({ endpoints: etcd.endpoints, site: "test" });
  try {
    // What such a node leaves: all is decided and written aside, the first half is in place.
    const staged = ["late-a", "late-b"].map((name, at) => {
      const key = `${keys.applyingPrefix}id/0000000${at}+${keys.account(name)}`;
      return { put: key, value: JSON.stringify({ name }) };
    });
    await store.transact({ compare: [], apply: [...staged, { put: keys.configApplying, value: "id" }] });
    const half = { put: keys.account("late-a"), value: JSON.stringify({ name: "late-a" }) };
    await store.transact({ compare: [], apply: [half] });
    const { status, text } = await one(1).ask("/api/v1/accounts/meanwhile", { method: "PUT", body: {} });
    assert.equal(status, 503, text);
    assert.match(text, /whole site/);
    await until("it is finished", async () => (await store.get(keys.configApplying)) === undefined, {
      deadlineMs: 10_000,
    });
    const head = await store.get(keys.configHead);
    await until(
      "it is in force everywhere",
      async () => {
        const { body } = await one(0).ask(`/api/v1/cluster/convergence?revision=${head?.modRevision}`);
        return body.converged;
      },
      { deadlineMs: 3_000 },
    );
    assert.ok((await accounts(one(2))).has("late-b"));
    await putAccount(one(1), "meanwhile", {});
  } finally {
    await store.close();
  }
});

test("the store is lost and the storage is there: a new store takes the backup's site id, and the files are served again", async () => {
  await backup();
  const kept = await accounts(one(0));
  const identity = await hostKeys(one(0));
  for (const node of nodes) {
    node.process.signal("SIGTERM");
    await node.process.exited;
  }
  const other = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  writeFileSync(join(other.directory, "key"), readFileSync(join(site.directory, "key")));
  const storage = { path: join(site.directory, "storage"), local: true };
  const node = await other.node("fresh", 1, { site: "lost", storage });
  others.push({ node, site: other });
  await until(
    "it says that the storage is another site's",
    async () => /another site/.test(String((await node.ask("/health/ready")).body.reasons)),
    { deadlineMs: 20_000 },
  );
  const done = await cli(other, node, "restore", backupFile, "--adopt-storage");
  assert.equal(done.code, 0, done.stderr);
  await node.ready();
  assert.deepEqual(await accounts(node), kept);
  assert.equal(await hostKeys(node), identity);
  const session = await login(node);
  assert.ok((await session.get("/running")).equals(CONTENT));
  await session.end();
  const again = await cli(other, node, "restore", backupFile, "--adopt-storage");
  assert.equal(again.code, EXIT.usage, "not once a storage is in use");
});
