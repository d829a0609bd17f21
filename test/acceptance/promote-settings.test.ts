import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { type Started, start } from "../support/processes.js";
import { longshore, type Site, startSite } from "../support/site.js";

/** `promote` and `demote` of a site that has settings files of its own: the same storage, keys and accounts, another store. */

const NODE = fileURLToPath(new URL("../../services/node/main.js", import.meta.url));

let site: Site;
let etcd: EtcdCluster;
let embedded: string;
let alone: string;
let clustered: string;
let adminUrl: string;
let token: string;
let was: unknown;
const running: Started[] = [];

before(async () => {
  etcd = await startEtcd();
  site = await startSite({ standalone: true });
  await site.addAccount("ann", { password: "ann-Pa55 word", description: "kept" });
  const node = site.node(0);
  adminUrl = node.adminUrl;
  alone = node.settingsFile;
  token = readFileSync(site.endpoints().admin.tokenFile, "utf8").trim();
  was = await state();
  await site.down();
  const settings = JSON.parse(readFileSync(alone, "utf8")) as { coordination: { directory: string } };
  embedded = settings.coordination.directory;
  clustered = join(site.directory, "clustered.json");
  const coordination = { kind: "etcd", endpoints: etcd.endpoints };
  writeFileSync(clustered, JSON.stringify({ ...settings, coordination }), { mode: 0o600 });
});
after(async () => {
  for (const node of running) await node.kill();
  await etcd?.stop();
  await site?.stop();
});

async function ask(path: string): Promise<unknown> {
  const response = await fetch(new URL(path, adminUrl), { headers: { authorization: `Bearer ${token}` } });
  return await response.json();
}

/** What partners and administrators know the site by. */
async function state(): Promise<unknown> {
  const { id } = (await ask("/api/v1/site")) as { id: string };
  const { accounts } = (await ask("/api/v1/accounts")) as { accounts: Record<string, unknown>[] };
  const { changes } = (await ask("/api/v1/config/history")) as { changes: { what?: unknown }[] };
  return { id, accounts: accounts.map(({ revision: _revision, ...account }) => account), changes: changes.length };
}

async function startNode(settings: string): Promise<Started> {
  const node = start(process.execPath, [NODE, "--config", settings], { name: "node-1" });
  running.push(node);
  await until(
    "the node is ready",
    async () => {
      try {
        return (await fetch(`${adminUrl}/health/ready`)).ok;
      } catch {
        return false;
      }
    },
    { deadlineMs: 60_000 },
  );
  return node;
}

/** In order: SIGTERM, as an operator stops it. */
async function ended(node: Started): Promise<void> {
  node.signal("SIGTERM");
  // Not `exited`: a child keeps nothing awake.
  await until("the node has ended", () => !node.alive, { deadlineMs: 30_000 });
}

const move = (command: "promote" | "demote", ...args: string[]) =>
  longshore([command, "--settings", clustered, "--embedded", embedded, ...args]);

test("promote: nothing while it runs, nothing in a dry run, then all of it, and the former store is put aside", async () => {
  const single = await startNode(alone);
  const held = await move("promote");
  assert.equal(held.code, EXIT.conflict, held.stderr);
  assert.match(held.stderr, /held by pid/);
  await ended(single);

  const dry = await move("promote", "--dry-run", "-o", "json");
  assert.equal(dry.code, 0, dry.stderr);
  const { done, entries } = JSON.parse(dry.stdout) as { done: boolean; entries: number };
  assert.equal(done, false);
  assert.ok(entries > 4);
  assert.equal((await etcd.ctl("get", "--prefix", "/longshore/local/", "--keys-only")).trim(), "");

  const moved = await move("promote");
  assert.equal(moved.code, 0, moved.stderr);
  assert.ok(!existsSync(embedded) && existsSync(`${embedded}.before-promote`));
  const again = await move("promote");
  assert.equal(again.code, EXIT.notFound, "the source is gone");

  const node = await startNode(clustered);
  assert.deepEqual(await state(), was);
  const busy = await move("demote");
  assert.equal(busy.code, EXIT.conflict);
  assert.match(busy.stderr, /nodes still run on etcd: node-1/);
  await ended(node);
});

test("demote: the way back, and nothing is left in etcd that nodes could serve from", async () => {
  await until(
    "its lease has ended",
    async () => {
      return (await etcd.ctl("get", "--prefix", "/longshore/local/nodes/", "--keys-only")).trim() === "";
    },
    { deadlineMs: 20_000 },
  );
  const moved = await move("demote");
  assert.equal(moved.code, 0, moved.stderr);
  assert.equal((await etcd.ctl("get", "--prefix", "/longshore/local/", "--keys-only")).trim(), "");
  assert.match(await etcd.ctl("get", "--prefix", "/longshore/local.before-demote/", "--keys-only"), /config\/site/);
  const node = await startNode(alone);
  assert.deepEqual(await state(), was);
  await ended(node);
});

test("a store that holds a site is replaced only where that is said", async () => {
  assert.equal((await move("promote")).code, 0);
  // The single node comes up by mistake, and makes a store of its own.
  const node = start(process.execPath, [NODE, "--config", alone], { name: "node-1" });
  running.push(node);
  // Not ready: the storage isn't that of its new site.
  await until(
    "it has made one",
    async () => {
      try {
        return ((await ask("/api/v1/site")) as { id?: string }).id !== undefined;
      } catch {
        return false;
      }
    },
    { deadlineMs: 30_000 },
  );
  await ended(node);
  const refused = await move("demote");
  assert.equal(refused.code, EXIT.conflict, refused.stderr);
  assert.match(refused.stderr, /holds a site already: --replace/);
  assert.equal((await move("demote", "--replace")).code, 0);
});

test("what isn't named right is said", async () => {
  const half = await longshore(["promote", "--settings", clustered]);
  assert.equal(half.code, EXIT.usage);
  assert.match(half.stderr, /go together/);
  const wrong = await longshore(["promote", "--settings", alone, "--embedded", embedded]);
  assert.equal(wrong.code, EXIT.usage);
  assert.match(wrong.stderr, /must be a node's settings with etcd/);
});
