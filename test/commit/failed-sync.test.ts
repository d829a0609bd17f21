import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { syncs } from "./faulty-sync.js";
import { createWorld, intent } from "./fixture.js";

/**
 * After a failed sync the kernel may hold lost pages for clean, so that the next sync succeeds and nothing is on the disk.
 * Nobody may count on these bytes then: neither this upload, nor the one that resumes it.
 */

const MIB = 1 << 20;
/** Past this the staging syncs beside the writes (services/storage/posix/staging.ts). */
const SYNC_EVERY = 32 * MIB;

keepAwake();
afterEach(() => {
  syncs.failWith = undefined;
});

type Writable = { write(offset: number, views: readonly Buffer[], done: (error?: Error) => void): void };

function write(file: Writable, offset: number, data: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(offset, [data], (error) => (error ? reject(error) : resolve()));
  });
}

for (const code of ["EIO", "ENOSPC"]) {
  test(`${code} at the close: it fails, nothing is committed, and a resume begins where syncs had worked`, async () => {
    const world = await createWorld();
    const node = await world.node();
    const alice = node.session();
    const content = Buffer.alloc(300_000, "x");
    const handle = await alice.open("/f", intent.put);
    await write(handle, 0, content);
    syncs.failWith = code;
    await assert.rejects(handle.close());
    syncs.failWith = undefined;
    await assert.rejects(readFile(join(world.root, "alice/f")), { code: "ENOENT" });
    await assert.rejects(alice.stat("/f", true), { code: "not-found" }, "nothing of it is sure");
    const again = await alice.open("/f", intent.resume);
    assert.equal((await again.attributes()).size, 0);
    await write(again, 0, content);
    await again.close();
    assert.ok((await readFile(join(world.root, "alice/f"))).equals(content));
  });
}

test("what an earlier sync had covered is kept, also for another node; what came after it is sent again", async () => {
  const world = await createWorld();
  const [one, two] = [await world.node(), await world.node()];
  const first = Buffer.alloc(SYNC_EVERY, "a");
  const second = Buffer.alloc(5 * MIB, "b");
  const handle = await one.session().open("/f", intent.put);
  const before = syncs.done;
  await write(handle, 0, first);
  await until("it was synced beside the writes", () => syncs.done > before, { deadlineMs: 10_000 });
  await write(handle, first.length, second);
  syncs.failWith = "EIO";
  await assert.rejects(handle.close());
  syncs.failWith = undefined;
  const alice = two.session();
  assert.equal((await alice.stat("/f", true)).size, first.length - 1);
  const again = await alice.open("/f", intent.resume);
  await write(again, first.length - 1, Buffer.concat([first.subarray(-1), second]));
  await again.close();
  assert.ok((await readFile(join(world.root, "alice/f"))).equals(Buffer.concat([first, second])));
});

test("a sync beside the writes fails: the upload fails at once, and bytes written again since don't count as synced", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const handle = await alice.open("/f", intent.put);
  const before = syncs.done;
  await write(handle, 0, Buffer.alloc(SYNC_EVERY, "a"));
  await until("it was synced", () => syncs.done > before, { deadlineMs: 10_000 });
  await write(handle, 1_000, Buffer.from("again"));
  const failedBefore = syncs.failed;
  syncs.failWith = "EIO";
  await write(handle, SYNC_EVERY, Buffer.alloc(SYNC_EVERY, "c"));
  await until("the sync failed", () => syncs.failed > failedBefore, { deadlineMs: 10_000 });
  syncs.failWith = undefined;
  await assert.rejects(write(handle, 2 * SYNC_EVERY, Buffer.from("more")));
  await assert.rejects(handle.close());
  assert.equal((await alice.stat("/f", true)).size, 999);
});

test("a client's own fsync that fails ends the upload, too", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, Buffer.from("hello"));
  await handle.sync();
  await write(handle, 5, Buffer.from(" world"));
  syncs.failWith = "EIO";
  await assert.rejects(handle.sync());
  syncs.failWith = undefined;
  await assert.rejects(handle.close(), "a second sync would lie");
  assert.equal((await alice.stat("/f", true)).size, 4);
});
