import assert from "node:assert/strict";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { createWorld, intent, type World, write } from "./fixture.js";

keepAwake();

async function settled(world: World, staged = 0): Promise<void> {
  for (;;) {
    const ops = await world.coordination.list(keys.opPrefix);
    const names = await world.coordination.list("names/");
    const left = await readdir(join(world.root, ".longshore/ops"));
    if (ops.entries.length === 0 && names.entries.length === 0 && left.length === staged) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("an upload is invisible to others until its close, then there, whole, with nothing left behind", async () => {
  const world = await createWorld();
  const node = await world.node();
  const alice = node.session();
  const handle = await alice.open("/in.txt", intent.put);
  await write(handle, 0, "hello");
  await assert.rejects(readFile(join(world.root, "alice/in.txt")), { code: "ENOENT" });
  assert.equal((await node.session().stat("/in.txt", true)).size, 4, "one byte short of what arrived");
  await handle.close();
  assert.equal(await readFile(join(world.root, "alice/in.txt"), "utf8"), "hello");
  assert.equal((await alice.stat("/in.txt", true)).size, 5);
  await settled(world);
});

test("bytes that come out of order are joined; holes become zeros", async () => {
  const world = await createWorld();
  const node = await world.node();
  const handle = await node.session().open("/f", intent.put);
  await write(handle, 6, "world");
  await write(handle, 0, "hello ");
  await write(handle, 13, "!");
  assert.equal((await node.session().stat("/f", true)).size, 10);
  await handle.close();
  assert.equal(await readFile(join(world.root, "alice/f"), "latin1"), "hello world\0\0!");
});

test("a lost connection leaves a partial that another node resumes; the old handle is fenced", async () => {
  const world = await createWorld();
  const [one, two] = [await world.node(), await world.node()];
  const old = await one.session().open("/f", intent.put);
  await write(old, 0, "0123456789");
  const bob = await two.session("bob");
  await assert.rejects(bob.stat("/f", true), { code: "not-found" });
  const alice = two.session();
  assert.equal((await alice.stat("/f", true)).size, 9);
  await assert.rejects(alice.open("/f", intent.read), { code: "incomplete-upload" });
  const fresh = await alice.open("/f", intent.resume);
  await write(fresh, 9, "9abc");
  await write(old, 10, "ZOMBIE").catch(() => {});
  await assert.rejects(old.close(), LongshoreError);
  await fresh.close();
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "0123456789abc");
  await settled(world);
});

test("a resume behind what has arrived is refused, and its close too", async () => {
  const world = await createWorld();
  const node = await world.node();
  const alice = node.session();
  const first = await alice.open("/f", intent.put);
  await write(first, 0, "0123");
  await first.abandon();
  const second = await alice.open("/f", intent.resume);
  await assert.rejects(write(second, 9, "x"), { code: "invalid-argument" });
  await assert.rejects(second.close());
  assert.equal((await alice.stat("/f", true)).size, 3);
});

test("a node that lost its lease commits nothing; its open upload goes on under a new incarnation", async () => {
  const world = await createWorld();
  const node = await world.node();
  const alice = node.session();
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, "abc");
  await node.die();
  await node.rejoin();
  await write(handle, 3, "def");
  await handle.close();
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "abcdef");
  await settled(world);
});

test("a closed upload that could not be committed is committed by another node after its node's death", async () => {
  const world = await createWorld();
  const node = await world.node();
  const alice = node.session();
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, "owed");
  await node.die();
  await assert.rejects(handle.close(), { code: "cut-off" });
  await node.engine.stop();
  await world.node();
  await settled(world);
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "owed");
});

test("overwriting: readers keep the old file, and the later close wins", async () => {
  const world = await createWorld();
  const [one, two] = [await world.node(), await world.node()];
  const alice = one.session();
  const first = await alice.open("/f", intent.put);
  await write(first, 0, "first");
  await first.close();
  const reader = await alice.open("/f", intent.read);
  const a = await alice.open("/f", intent.put);
  const b = await two.session().open("/f", intent.put);
  await write(a, 0, "from a");
  await write(b, 0, "from b");
  await b.close();
  await a.close();
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "from a");
  const buffer = Buffer.alloc(10);
  const bytes = await new Promise<number>((resolve) => reader.read(0, [buffer], (_e, count) => resolve(count)));
  assert.equal(buffer.toString("utf8", 0, bytes), "first");
  await reader.close();
  await settled(world);
});

test("copy-on-write: an old file is changed in place as the client sees it, untouched until the close", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const put = await alice.open("/f", intent.put);
  await write(put, 0, "0123456789");
  await put.close();
  const path = join(world.root, "alice/f");
  const cases: [string, (handle: typeof put) => Promise<void>, string][] = [
    ["a middle", (handle) => write(handle, 3, "abc"), "012abc6789"],
    ["the start, shorter", (handle) => write(handle, 0, "XY"), "XY2abc6789"],
    [
      "cut by FSETSTAT",
      async (handle) => {
        await write(handle, 0, "cut");
        await handle.setAttributes({ size: 3 });
      },
      "cut",
    ],
    ["the end", (handle) => write(handle, 3, "+tail"), "cut+tail"],
    ["behind the end", (handle) => write(handle, 10, "!"), "cut+tail\0\0!"],
  ];
  for (const [what, change, expected] of cases) {
    const before = await readFile(path, "latin1");
    const handle = await alice.open("/f", intent.resume);
    await change(handle);
    assert.equal(await readFile(path, "latin1"), before, what);
    await handle.close();
    assert.equal(await readFile(path, "latin1"), expected, what);
  }
  await settled(world);
});

test("names: mkdir, rename, remove, rmdir and their refusals", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  await alice.makeDirectory("/d", {});
  await assert.rejects(alice.makeDirectory("/d", {}), { code: "exists" });
  const put = await alice.open("/d/f", intent.put);
  await put.close();
  await assert.rejects(alice.removeDirectory("/d"), { code: "not-empty" });
  await alice.rename("/d/f", "/g", false);
  const other = await alice.open("/d/f", intent.put);
  await write(other, 0, "x");
  await other.close();
  await assert.rejects(alice.rename("/d/f", "/g", false), { code: "exists" });
  await alice.rename("/d/f", "/g", true);
  assert.equal(await readFile(join(world.root, "alice/g"), "utf8"), "x");
  await alice.removeDirectory("/d");
  await assert.rejects(alice.remove("/d"), { code: "not-found" });
  await alice.link("/g", "/h");
  await alice.remove("/g");
  assert.equal(await readFile(join(world.root, "alice/h"), "utf8"), "x");
  await assert.rejects(alice.remove("/"), { code: "permission-denied" });
  await settled(world);
});

test("forty uploads closed at once share transactions and all come through", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const handles = await Promise.all(Array.from({ length: 40 }, (_, i) => alice.open(`/f${i % 20}`, intent.put)));
  await Promise.all(handles.map((handle, i) => write(handle, 0, `content ${i % 20}`)));
  await Promise.all(handles.map((handle) => handle.close()));
  for (let i = 0; i < 20; i += 1) {
    assert.equal(await readFile(join(world.root, `alice/f${i}`), "utf8"), `content ${i}`);
  }
  await settled(world);
});

test("a node that can't commit acknowledges no more bytes, until it can again", async () => {
  const world = await createWorld();
  const node = await world.node();
  const alice = node.session();
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, "abc");
  await node.die();
  const late = write(handle, 3, "def");
  const first = await Promise.race([
    late.then(() => "told"),
    new Promise((resolve) => setTimeout(resolve, 300, "held")),
  ]);
  assert.equal(first, "held");
  assert.ok(handle.pendingBytes >= 3, "backpressure counts it");
  await node.rejoin();
  await late;
  await handle.close();
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "abcdef");
});

test("a newer upload of the name, begun while an older one is being committed on another node, takes nothing from it", async () => {
  const world = await createWorld();
  const [one, two] = [(await world.node()).session(), (await world.node()).session()];
  for (let round = 0; round < 40; round += 1) {
    const older = await one.open("/f", intent.put);
    await write(older, 0, `older ${round}`);
    const closing = older.close();
    for (let turn = 0; turn < round % 8; turn += 1) await new Promise(setImmediate);
    const newer = await two.open("/f", intent.put);
    await write(newer, 0, `newer ${round}`);
    await closing;
    await newer.close();
    assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), `newer ${round}`);
  }
  await settled(world);
});

test("the session that writes a file sees it as it stands, empty or whole; another one a byte short", async () => {
  const world = await createWorld();
  const node = await world.node();
  const [alice, later] = [node.session(), node.session()];
  const handle = await alice.open("/in.txt", intent.put);
  assert.equal((await alice.stat("/in.txt", true)).size, 0, "sshfs looks at what it has just opened");
  await assert.rejects(later.stat("/in.txt", true), { code: "not-found" });
  await write(handle, 0, "hello");
  assert.equal((await alice.stat("/in.txt", true)).size, 5);
  const listing = await alice.openDirectory("/");
  assert.equal((await listing.next(10)).find(({ name }) => name === "in.txt")?.attributes.size, 5);
  assert.equal((await later.stat("/in.txt", true)).size, 4);
  await handle.close();
  assert.equal((await later.stat("/in.txt", true)).size, 5);
});

test("APPEND with a first write at 0: every write goes to the end, whatever its offset says", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const append = { ...intent.resume, append: true };
  for (const before of ["", "old "]) {
    const name = `/f${before.length}`;
    if (before !== "") {
      const first = await alice.open(name, intent.put);
      await write(first, 0, before);
      await first.close();
    }
    const handle = await alice.open(name, append);
    for (const [offset, text] of [
      [0, "one "],
      [4, "two "],
      [0, "three "],
      [6, "four"],
    ] as const) {
      await write(handle, offset, text);
    }
    await handle.close();
    assert.equal(await readFile(join(world.root, `alice${name}`), "utf8"), `${before}one two three four`);
  }
  const handle = await alice.open("/f4", append);
  await write(handle, 4, "ONE ");
  await handle.close();
  assert.equal(
    await readFile(join(world.root, "alice/f4"), "utf8"),
    "old ONE two three four",
    "one that knows its place",
  );
});

test("times that are set while a close is under way are set behind it, not lost", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, "whole");
  const transact = world.coordination.transact.bind(world.coordination);
  let goOn = (): void => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let asked = false;
  world.coordination.transact = async (transaction, options) => {
    asked = true;
    await held;
    return transact(transaction, options);
  };
  const closed = handle.close();
  await until("its commit is asked for", () => asked, { deadlineMs: 5_000 });
  // sshfs and WinSCP: SETSTAT doesn't wait for the reply to CLOSE
  const set = alice.setAttributes("/f", { atime: 1_000_000_000, mtime: 1_000_000_000 }, true);
  goOn();
  await Promise.all([closed, set]);
  assert.equal((await stat(join(world.root, "alice/f"))).mtimeMs, 1_000_000_000_000);
});
