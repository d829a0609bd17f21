import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NO_USAGE, parseUsage, type Usage } from "#commit/usage.js";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { until } from "#lib/testing.js";
import { keepUsage, recount } from "#quota/recount.js";
import type { Session } from "#sessions/contract.js";
import { keepAwake, recordingLogger } from "../cluster/fixture.js";
import { createWorld, intent, type World, write } from "./fixture.js";

/** Two nodes in one process on one store: folders with a quota. alice has /in (100 bytes) and /other (1,000); bob all of both. */

const QUOTA = 100;

function withQuota(siteId: string): ConfigView {
  const folders = [
    { path: "/in", target: "shared/in", quotaBytes: QUOTA },
    { path: "/other", target: "shared/other", quotaBytes: 1_000 },
  ];
  const list = [
    { name: "alice", folders },
    { name: "bob", home: "shared" },
  ];
  const accounts = new Map(list.map((account) => [account.name, accountSchema.parse(account)]));
  const site = siteSchema.parse({ id: siteId, name: "test" });
  const snapshot: Snapshot = { revision: 1, hash: "", ...noEntries(), site, accounts, hostKeys: [] };
  return { snapshot: () => snapshot, onChange: () => () => {} };
}

keepAwake();

async function usage(world: World, target = "shared/in"): Promise<Usage> {
  const entry = await world.coordination.get(keys.usage("main", target));
  assert.ok(entry, `${target} has a counter`);
  return parseUsage(entry);
}

/** The coordinator's work, from now to the end of the test. */
async function counted(world: World, node: Awaited<ReturnType<World["node"]>>, end: AbortSignal): Promise<void> {
  const config = withQuota("00000000-0000-4000-8000-000000000000");
  const logger = recordingLogger();
  void keepUsage({ coordination: world.coordination, config, store: () => node.store, signal: end, logger });
  for (const target of ["shared/in", "shared/other"]) {
    await until(
      `${target} is counted`,
      async () => {
        const entry = await world.coordination.get(keys.usage("main", target));
        return entry !== undefined && parseUsage(entry).counts > 0 && node.usages.of(target)?.counts !== 0;
      },
      { deadlineMs: 10_000 },
    );
  }
}

async function put(session: Session, path: string, bytes: number): Promise<void> {
  const handle = await session.open(path, intent.put);
  try {
    await write(handle, 0, "x".repeat(bytes));
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
  await handle.close();
}

async function opened(t: { after(run: () => void): void }) {
  const world = await createWorld(true, withQuota);
  const [one, two] = [await world.node(), await world.node()];
  const end = new AbortController();
  t.after(() => end.abort());
  await mkdir(join(world.root, "shared/in"), { recursive: true });
  return { world, one, two, end: end.signal };
}

test("what lies in a folder when it gets its quota is counted, and uploads past it are refused at their write", async (t) => {
  const { world, one, end } = await opened(t);
  await writeFile(join(world.root, "shared/in/old"), "y".repeat(40));
  await counted(world, one, end);
  assert.equal((await usage(world)).bytes, 40);
  const alice = one.session();
  await put(alice, "/in/a", 60);
  assert.equal((await usage(world)).bytes, 100);
  await until("the node knows", async () => one.usages.of("shared/in")?.bytes === 100, { deadlineMs: 5_000 });
  await assert.rejects(put(alice, "/in/b", 1), { code: "quota-exceeded", message: /quota exceeded: \/in takes 100/ });
  assert.equal((await usage(world)).bytes, 100);
  await put(alice, "/in/empty", 0);
  await put(alice, "/elsewhere", 500);
});

test("two uploads that only together pass the quota: the second one's close fails, its partial stays and goes in later", async (t) => {
  const { world, one, two, end } = await opened(t);
  await counted(world, one, end);
  const [alice, again] = [one.session(), two.session()];
  const [first, second] = [await alice.open("/in/a", intent.put), await again.open("/in/b", intent.put)];
  await write(first, 0, "a".repeat(70));
  await write(second, 0, "b".repeat(70));
  const ends = await Promise.allSettled([first.close(), second.close()]);
  assert.deepEqual(ends.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
  const failed = ends.find((each) => each.status === "rejected");
  assert.ok(
    failed?.reason instanceof LongshoreError && failed.reason.code === "quota-exceeded",
    String(failed?.reason),
  );
  assert.equal((await usage(world)).bytes, 70);
  const [kept, there] = ends[0]?.status === "rejected" ? ["/in/a", "/in/b"] : ["/in/b", "/in/a"];
  assert.equal((await alice.stat(kept, true)).size, 69, "the partial, one byte short");
  await alice.remove(there);
  assert.equal((await usage(world)).bytes, 0);
  await until("both nodes know", async () => two.usages.of("shared/in")?.bytes === 0, { deadlineMs: 5_000 });
  const resumed = await two.session().open(kept, intent.resume);
  await write(resumed, 69, "z");
  await resumed.close();
  assert.equal((await usage(world)).bytes, 70);
  assert.equal((await readFile(join(world.root, "shared", kept))).length, 70);
});

test("overwrites, removals, renames from folder to folder and links count; a rename past the quota is refused", async (t) => {
  const { world, one, end } = await opened(t);
  await counted(world, one, end);
  const alice = one.session();
  await put(alice, "/in/a", 90);
  await put(alice, "/in/a", 50);
  assert.equal((await usage(world)).bytes, 50, "only the new one lies there");
  await alice.rename("/in/a", "/in/b", false);
  assert.equal((await usage(world)).bytes, 50);
  await alice.rename("/in/b", "/other/b", false);
  assert.deepEqual([(await usage(world)).bytes, (await usage(world, "shared/other")).bytes], [0, 50]);
  await alice.link("/other/b", "/other/c");
  assert.equal((await usage(world, "shared/other")).bytes, 100, "each name counts");
  await put(alice, "/in/x", 60);
  await assert.rejects(alice.rename("/other/b", "/in/b", false), { code: "quota-exceeded" });
  assert.equal((await alice.stat("/other/b", true)).size, 50, "it is where it was");
  await alice.rename("/other/b", "/in/x", true);
  assert.equal((await usage(world)).bytes, 50, "over a file that goes: there was room");
  await one.session("bob").remove("/in/x");
  assert.equal((await usage(world)).bytes, 0, "others' removals count");
});

test("the volume that a client sees in the folder is the quota, elsewhere the disk", async (t) => {
  const { world, one, end } = await opened(t);
  await counted(world, one, end);
  const alice = one.session();
  await put(alice, "/other/a", 400);
  await until("the node knows", async () => one.usages.of("shared/other")?.bytes === 400, { deadlineMs: 5_000 });
  const { blockSize, blocks, availableBlocks } = await alice.statVolume("/other");
  assert.deepEqual([blockSize, blocks, availableBlocks], [1_024, 1, 0], "rounded to what surely fits");
  assert.ok((await alice.statVolume("/")).blocks * (await alice.statVolume("/")).blockSize > 1_000_000);
});

test("an upload whose directory vanished gives its bytes back", async (t) => {
  const { world, one, end } = await opened(t);
  await counted(world, one, end);
  const alice = one.session();
  await alice.makeDirectory("/in/sub", {});
  const handle = await alice.open("/in/sub/a", intent.put);
  await write(handle, 0, "a".repeat(10));
  await rm(join(world.root, "shared/in/sub"), { recursive: true });
  await assert.rejects(handle.close());
  assert.equal((await usage(world)).bytes, 0);
});

test("a dead node's committed upload counts once, whoever finishes it", async (t) => {
  const { world, one, two, end } = await opened(t);
  await counted(world, one, end);
  const handle = await one.session().open("/in/a", intent.put);
  await write(handle, 0, "a".repeat(30));
  await one.die();
  await assert.rejects(handle.close(), { code: "cut-off" });
  assert.equal((await usage(world)).bytes, 0, "not committed, not counted");
  await until("another node finished it", async () => (await usage(world)).bytes === 30, { deadlineMs: 20_000 });
  assert.equal((await two.session().stat("/in/a", true)).size, 30);
});

test("many uploads from both nodes into one folder: the counter is what lies there, and never past the quota", async (t) => {
  const { world, one, two, end } = await opened(t);
  await counted(world, one, end);
  const sessions = [one.session(), two.session()];
  const ends = await Promise.allSettled(
    Array.from({ length: 60 }, (_, i) => put(sessions[i % 2] as Session, `/in/f${i}`, 3)),
  );
  assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 33, "33 files of 3 bytes go into 100");
  assert.equal((await usage(world)).bytes, 99);
  assert.equal((await one.store.measure("shared/in", end)).bytes, 99);
});

test("a directory above the place that is on its way: the count waits until it has come", async (t) => {
  const { world, one, end } = await opened(t);
  const { coordination } = world;
  const usage = { put: keys.usage("main", "shared/in"), value: JSON.stringify(NO_USAGE) };
  const claim = keys.name("main", "shared");
  await coordination.transact({ compare: [], apply: [usage, { put: claim, value: "a rename" }] });
  await writeFile(join(world.root, "shared/in/a"), "12345");
  let done = false;
  const counting = recount("shared/in", { coordination, store: one.store, signal: end }).finally(() => {
    done = true;
  });
  await sleep(200);
  assert.equal(done, false);
  await coordination.transact({ compare: [], apply: [{ delete: claim }] });
  assert.equal((await counting)?.usage.bytes, 5);
});

test("files that come and go past the site: a recount puts the counter right, an unmetered counter goes", async (t) => {
  const { world, one, end } = await opened(t);
  await counted(world, one, end);
  await put(one.session(), "/in/a", 30);
  await rm(join(world.root, "shared/in/a"));
  await writeFile(join(world.root, "shared/in/b"), "12345");
  const result = await recount("shared/in", { coordination: world.coordination, store: one.store, signal: end });
  assert.deepEqual([result?.before.bytes, result?.usage.bytes, result?.usage.exact], [30, 5, true]);
  const gone = { put: keys.usage("main", "gone"), value: JSON.stringify(NO_USAGE) };
  await world.coordination.transact({ compare: [], apply: [gone] });
  await until("it is gone", async () => (await world.coordination.get(gone.put)) === undefined, { deadlineMs: 5_000 });
});
