import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { type Site, startSite } from "../support/site.js";

/** The rules under "Handles" in clients.md, and those of the table that aren't cells. */

const { R, W, C, T, APPEND } = Open;
const OLD = bytes(5_000, "old");
const NEW = bytes(3_000, "new");

describe("handles", () => {
  let site: Site;
  let partner: Partner;
  let neighbour: Partner;
  let own: RawSftp;
  let elsewhere: RawSftp;
  let other: RawSftp;
  let files = 0;
  const fresh = () => `/file-${files++}`;

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "handles");
    neighbour = await Partner.add(site, "neighbour", { home: partner.home });
    own = await partner.rawOn(0);
    elsewhere = await partner.rawOn(1);
    other = await neighbour.rawOn(2);
  });
  after(async () => {
    for (const session of [own, elsewhere, other]) await session?.end();
    await site?.stop();
  });

  async function holds(path: string, content: Buffer, session: RawSftp = other): Promise<void> {
    const seen = await session.get(path);
    assert.ok(seen.equals(content), `${path}: ${seen.length} bytes, expected ${content.length}, or other bytes`);
  }

  /** An upload whose connection is lost after these WRITEs were acknowledged. */
  async function lose(path: string, writes: readonly (readonly [offset: number, data: Buffer])[]): Promise<void> {
    const session = await partner.rawOn(0);
    const handle = await session.open(path, W | C | T);
    for (const [offset, data] of writes) await session.write(handle, offset, data);
    await session.drop();
  }

  test("WRITEs out of order make the file that their offsets say", async () => {
    const path = fresh();
    const handle = await own.open(path, W | C | T);
    for (const at of [2_000, 0, 1_000]) await own.write(handle, at, NEW.subarray(at, at + 1_000));
    await own.close(handle);
    await holds(path, NEW);
  });

  test("a WRITE below the contiguous end overwrites", async () => {
    const path = fresh();
    const handle = await own.open(path, W | C | T);
    await own.write(handle, 0, OLD);
    await own.write(handle, 1_000, NEW);
    await own.close(handle);
    await holds(path, Buffer.concat([OLD.subarray(0, 1_000), NEW, OLD.subarray(4_000)]));
  });

  test("APPEND with a first offset of 0 on a file with content goes to its end (curl -a)", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(path, W | C | APPEND);
    await own.write(handle, 0, NEW.subarray(0, 1_000));
    await own.write(handle, 1_000, NEW.subarray(1_000));
    await own.close(handle);
    await holds(path, Buffer.concat([OLD, NEW]));
  });

  test("an overwrite from 0 with the size set to what was written leaves nothing of the old file (scp)", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(path, W | C);
    await own.write(handle, 0, NEW);
    await own.fsetstat(handle, { size: NEW.length });
    await own.close(handle);
    await holds(path, NEW);
  });

  test("an overwrite from 0 that sets no size keeps the longer file's tail", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(path, W | C);
    await own.write(handle, 0, NEW);
    await holds(path, OLD); // untouched until CLOSE
    await own.close(handle);
    await holds(path, Buffer.concat([NEW, OLD.subarray(NEW.length)]));
  });

  test("an open for writing without a WRITE changes attributes only", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(path, W | C);
    await own.fsetstat(handle, { atime: 1_000_000_000, mtime: 1_000_000_000 });
    await own.close(handle);
    await holds(path, OLD);
    assert.equal((await other.stat(path)).mtime, 1_000_000_000);
  });

  test("a resumed partial that is closed without a WRITE is committed with all that arrived", async () => {
    const path = fresh();
    await lose(path, [[0, NEW]]);
    await until("the partial shows", async () => (await elsewhere.stat(path)).size === NEW.length - 1);
    await elsewhere.close(await elsewhere.open(path, W | C));
    await holds(path, NEW);
  });

  test("CLOSE with holes and no failed WRITE commits a sparse file", async () => {
    const path = fresh();
    const handle = await own.open(path, W | C | T);
    await own.write(handle, 0, NEW.subarray(0, 1_000));
    await own.write(handle, 2_000, NEW.subarray(2_000));
    await own.close(handle);
    await holds(path, Buffer.concat([NEW.subarray(0, 1_000), Buffer.alloc(1_000), NEW.subarray(2_000)]));
  });

  test("a partial with a gap counts up to the gap, and is resumed from there", async () => {
    const path = fresh();
    await lose(path, [
      [0, NEW.subarray(0, 1_000)],
      [2_000, NEW.subarray(2_000)],
    ]);
    await until("the partial shows", async () => (await elsewhere.stat(path)).size === 999);
    const handle = await elsewhere.open(path, W | C);
    await elsewhere.write(handle, 999, NEW.subarray(999));
    await elsewhere.close(handle);
    await holds(path, NEW);
  });

  test("after a failed WRITE, CLOSE fails, nothing is committed and the prefix is kept", async () => {
    const path = fresh();
    const handle = await own.open(path, W | C | T);
    await own.write(handle, 0, NEW);
    assert.notEqual(await codeOf(own.write(handle, 2n ** 62n, NEW)), Status.OK, "past what any file system holds");
    assert.notEqual(await codeOf(own.write(handle, NEW.length, NEW)), Status.OK, "later WRITEs fail too");
    assert.equal(await codeOf(own.close(handle)), Status.FAILURE);
    assert.equal(await codeOf(other.stat(path)), Status.NO_SUCH_FILE);
    assert.equal((await own.stat(path)).size, NEW.length - 1);
    const again = await own.open(path, W | C);
    await own.write(again, NEW.length - 1, NEW.subarray(NEW.length - 1));
    await own.close(again);
    await holds(path, NEW);
  });

  test("a connection lost without CLOSE never commits", async () => {
    const path = fresh();
    await lose(path, [[0, NEW]]);
    await until("the partial shows", async () => (await own.stat(path)).size === NEW.length - 1);
    assert.equal(await codeOf(other.stat(path)), Status.NO_SUCH_FILE);
    const names = (await other.list("/")).map(({ name }) => name.toString());
    assert.ok(!names.includes(path.slice(1)), "a neighbour's listing shows it");
  });

  test("an upload that was opened and lost before a byte arrived shows nothing", async () => {
    const path = fresh();
    await lose(path, []);
    assert.equal(await codeOf(own.stat(path)), Status.NO_SUCH_FILE);
    assert.equal(await codeOf(elsewhere.stat(path)), Status.NO_SUCH_FILE);
  });

  test("a CLOSE that was received commits though the socket is gone", async () => {
    const path = fresh();
    const session = await partner.rawOn(0);
    const handle = await session.open(path, W | C | T);
    const replies = Promise.allSettled([session.write(handle, 0, NEW), session.close(handle)]);
    await new Promise<void>((resolve) => session.socket.end(() => resolve()));
    await until("the file is committed", async () => (await other.stat(path)).size === NEW.length);
    await holds(path, NEW);
    await replies;
    await session.end();
  });

  test("two writers with TRUNC stage apart, and the last CLOSE wins", async () => {
    const path = fresh();
    const first = await own.open(path, W | C | T);
    const second = await elsewhere.open(path, W | C | T);
    await own.write(first, 0, OLD);
    await elsewhere.write(second, 0, NEW);
    await elsewhere.close(second);
    await holds(path, NEW);
    await own.close(first);
    await holds(path, OLD);
  });

  test("a resume takes the partial over from a connection that is only half dead, and fences it", async () => {
    const path = fresh();
    const first = await own.open(path, W | C | T);
    await own.write(first, 0, NEW.subarray(0, 2_000));
    const second = await elsewhere.open(path, W | C);
    assert.equal((await elsewhere.fstat(second)).size, 1_999);
    await elsewhere.write(second, 1_999, NEW.subarray(1_999));
    await own.write(first, 0, OLD).catch(() => undefined); // must not reach the new upload, whatever it is answered
    await elsewhere.close(second);
    await holds(path, NEW);
    assert.notEqual(await codeOf(own.close(first)), Status.OK, "the old handle's CLOSE must not be acknowledged");
    await holds(path, NEW);
  });

  test("accounts that share a directory stage apart, and each sees its own partial only", async () => {
    const path = fresh();
    const mine = await own.open(path, W | C | T);
    const theirs = await other.open(path, W | C | T);
    await own.write(mine, 0, OLD);
    await other.write(theirs, 0, NEW);
    assert.equal((await own.stat(path)).size, OLD.length);
    assert.equal((await other.stat(path)).size, NEW.length);
    await own.close(mine);
    await holds(path, OLD, own);
    assert.equal((await other.stat(path)).size, NEW.length, "their partial is still there, over the committed file");
    await other.close(theirs);
    await holds(path, NEW, own);
  });

  test("OPEN and CLOSE without a byte make an empty file", async () => {
    const path = fresh();
    await own.close(await own.open(path, W | C | T));
    assert.equal((await other.stat(path)).size, 0);
  });

  test("SETSTAT after CLOSE sets times and mode, and owner and group are ignored, not refused", async () => {
    const path = fresh();
    await own.put(path, NEW);
    await own.setstat(path, { uid: 4_711, gid: 4_711 });
    await own.setstat(path, { uid: 4_711, gid: 4_711, mode: 0o100600, atime: 1_000_000_000, mtime: 1_000_000_000 });
    const seen = await other.stat(path);
    assert.notEqual(seen.uid, 4_711);
    assert.equal((seen.mode ?? 0) & 0o777, 0o600);
    assert.equal(seen.mtime, 1_000_000_000);
  });

  test("CLOSE, REMOVE, RENAME and SETSTAT sent at once run in that order (WinSCP)", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(`${path}.filepart`, W | C | T);
    const results = await Promise.all([
      codeOf(own.write(handle, 0, NEW)),
      codeOf(own.close(handle)),
      codeOf(own.remove(path)),
      codeOf(own.rename(`${path}.filepart`, path)),
      codeOf(own.setstat(path, { atime: 1_000_000_000, mtime: 1_000_000_000 })),
    ]);
    assert.deepEqual(results, [0, 0, 0, 0, 0]);
    await holds(path, NEW);
    assert.equal((await other.stat(path)).mtime, 1_000_000_000);
    assert.equal(await codeOf(other.stat(`${path}.filepart`)), Status.NO_SUCH_FILE);
  });

  test("without the overwrite permission an existing file is refused at OPEN, and at CLOSE when it came in between", async () => {
    const careful = await Partner.add(site, "careful", {
      home: partner.home,
      permissions: [{ path: "/", allow: ["list", "read", "write", "delete", "rename", "mkdir", "set-times"] }],
    });
    const session = await careful.raw();
    const path = fresh();
    await own.put(path, OLD);
    assert.equal(await codeOf(session.open(path, W | C | T)), Status.PERMISSION_DENIED);
    assert.equal(await codeOf(session.open(path, W)), Status.PERMISSION_DENIED);
    const raced = fresh();
    const handle = await session.open(raced, W | C | T);
    await session.write(handle, 0, NEW);
    await own.put(raced, OLD);
    assert.notEqual(await codeOf(session.close(handle)), Status.OK);
    await holds(raced, OLD);
    await session.end();
  });

  test("a reader keeps the file that it opened through overwrite, rename and removal", async () => {
    const path = fresh();
    await own.put(path, OLD);
    const handle = await own.open(path, R);
    await elsewhere.put(path, NEW);
    await elsewhere.remove(path);
    const seen = await own.read(handle, 0, OLD.length);
    assert.ok(seen.equals(OLD));
    await own.close(handle);
  });

  test("closing a handle twice, or one that never was, is an error and harms nothing", async () => {
    const path = fresh();
    const handle = await own.open(path, W | C | T);
    await own.write(handle, 0, NEW);
    await own.close(handle);
    assert.notEqual(await codeOf(own.close(handle)), Status.OK);
    assert.notEqual(await codeOf(own.write(Buffer.from("no such handle"), 0, NEW)), Status.OK);
    await holds(path, NEW);
  });

  test("the other sessions were not lost on the way", async () => {
    for (const session of [own, elsewhere, other]) {
      await assert.doesNotReject(session.stat("/"), ConnectionLost);
    }
  });
});
