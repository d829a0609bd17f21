import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { Bystander } from "../support/clients/bystander.js";
import { bytes } from "../support/clients/content.js";
import { memoryGrowth } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, codeOf, Open, type RawSftp, Status, Type } from "../support/clients/raw-sftp.js";
import { packet, string, u32, u64 } from "../support/clients/sftp-codec.js";
import { type Site, startSite } from "../support/site.js";

/** Clients that logged in and then misbehave. A partner works beside them on the same node and notices nothing. */

const MIB = 1024 * 1024;

describe("bad packets", () => {
  let site: Site;
  let partner: Partner;
  let bystander: Bystander;

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "rude");
    bystander = await Bystander.start(await Partner.add(site, "calm"), 0);
  });
  after(async () => {
    try {
      await bystander?.stop();
    } finally {
      await site?.stop();
    }
  });

  const pid = () => site.pid(0);

  /** Sends bytes that no sane client sends: an error status or a closed connection must follow, and never OK. */
  async function isRefused(data: Buffer): Promise<void> {
    const session = await partner.rawOn(0);
    try {
      session.sendBytes(data);
      await until("a refusal", () => session.strays.length > 0 || session.isGone);
      for (const reply of session.strays) {
        assert.ok(reply.kind === "status" && reply.code !== Status.OK, `answered ${JSON.stringify(reply)}`);
      }
    } finally {
      await session.end();
    }
  }

  const id = u32(77);
  const raw = (length: number, type: number, ...body: Buffer[]) =>
    Buffer.concat([u32(length), Buffer.from([type]), ...body]);
  const LIES: Readonly<Record<string, Buffer>> = {
    "a packet of length 0": u32(0),
    "a packet without an id": raw(1, Type.STAT),
    "half an id": raw(3, Type.STAT, Buffer.from([0, 1])),
    "a packet of 4 GiB": raw(0xffffffff, Type.WRITE, Buffer.alloc(1_000)),
    "a packet of 2 GiB": raw(0x7fffffff, Type.OPEN, Buffer.alloc(1_000)),
    "a packet just over the limit": raw(256 * 1024 + 1_024, Type.WRITE, Buffer.alloc(1_000)),
    "a path that says it is longer than its packet": packet(Type.STAT, id, u32(1_000), Buffer.from("/x")),
    "a path of 4 GiB": packet(Type.OPEN, id, u32(0xffffffff), Buffer.from("/x")),
    "an OPEN that ends after its path": packet(Type.OPEN, id, string("/x")),
    "attributes that end in their middle": packet(Type.SETSTAT, id, string("/x"), u32(0xf), u32(1)),
    "attributes with 2^31 extensions": packet(Type.MKDIR, id, string("/x"), u32(0x80000000), u32(0x80000000)),
    "a handle that says it is longer than its packet": packet(Type.CLOSE, id, u32(400), Buffer.from("h")),
    "a handle of no bytes": packet(Type.CLOSE, id, string("")),
    "a handle of 60,000 bytes": packet(Type.READ, id, string("h".repeat(60_000)), u64(0), u32(1)),
    "a READ without a length": packet(Type.READ, id, string("h"), u64(0)),
    "a WRITE whose data says more than its packet": packet(Type.WRITE, id, string("h"), u64(0), u32(9_999), bytes(10)),
    "an unknown type": packet(99, id, Buffer.alloc(10)),
    "a reply instead of a request": packet(Type.STATUS, id, u32(0), string("ok"), string("")),
    "an extension without a name": packet(Type.EXTENDED, id),
    "an unknown extension": packet(Type.EXTENDED, id, string("no-such@longshore"), Buffer.alloc(4)),
    "posix-rename without its arguments": packet(Type.EXTENDED, id, string("posix-rename@openssh.com")),
    "copy-data with nonsense": packet(
      Type.EXTENDED,
      id,
      string("copy-data"),
      string("a"),
      u64(0),
      u64(0),
      string("b"),
      u64(0),
    ),
  };
  for (const [what, data] of Object.entries(LIES)) {
    test(`${what} is refused, and no other session notices`, async () => {
      await bystander.undisturbed(() => isRefused(data));
    });
  }

  test("lying lengths on a real write handle fail it, and nothing is committed", async () => {
    const session = await partner.rawOn(0);
    const handle = await session.open("/lied", Open.W | Open.C | Open.T);
    await session.write(handle, 0, bytes(1_000));
    session.sendBytes(packet(Type.WRITE, id, string(handle), u64(1_000), u32(5_000), bytes(10)));
    await until("a refusal", () => session.strays.length > 0 || session.isGone);
    const code = await codeOf(session.close(handle)).catch((error: unknown) => {
      if (error instanceof ConnectionLost) return Status.CONNECTION_LOST;
      throw error;
    });
    assert.notEqual(code, Status.OK);
    await session.end();
    const other = await partner.rawOn(1);
    assert.equal(await codeOf(other.open("/lied", Open.R)), Status.PERMISSION_DENIED, "a partial, not a file");
    await other.end();
  });

  test("requests before INIT, a second INIT and INITs of other versions don't hang the session", async () => {
    for (const first of [packet(Type.STAT, id, string("/")), packet(Type.INIT, u32(6)), packet(Type.INIT, u32(0))]) {
      const session = await partner.rawOn(0);
      session.sendBytes(first);
      session.sendBytes(packet(Type.INIT, u32(3)));
      const outcome = await codeOf(session.stat("/")).catch(() => Status.CONNECTION_LOST);
      assert.ok(outcome === Status.OK || outcome === Status.CONNECTION_LOST);
      await session.end();
    }
  });

  test("packets that come byte by byte, and many in one piece, are all answered", async () => {
    const session = await partner.rawOn(0);
    for (const byte of packet(Type.REALPATH, u32(9_000), string("/a/.."))) {
      session.sendBytes(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until("the reply", () => session.strays.some((reply) => reply.id === 9_000));
    session.sendBytes(
      Buffer.concat(Array.from({ length: 500 }, (_, i) => packet(Type.REALPATH, u32(10_000 + i), string("/b")))),
    );
    await until("500 replies", () => session.strays.filter((reply) => reply.id >= 10_000).length === 500);
    await session.end();
  });

  test("1,000 handles that are never closed: refused past the limit, given back one by one and at the end", async () => {
    const session = await partner.rawOn(0);
    await session.put("/held", bytes(1_000));
    const growth = await memoryGrowth(pid(), () =>
      bystander.undisturbed(async () => {
        const handles: Buffer[] = [];
        const codes: number[] = [];
        for (let i = 0; i < 1_000; i++) {
          try {
            // Every other one an upload: those hold a file on the storage, too.
            handles.push(await (i % 2 ? session.open("/held", Open.R) : session.open(`/new-${i}`, Open.W | Open.C)));
          } catch (error) {
            codes.push((error as { code: number }).code);
          }
        }
        assert.ok(handles.length >= 16 && handles.length <= 512, `${handles.length} handles were given`);
        assert.ok(codes.every((code) => code === Status.FAILURE));
        const [first] = handles;
        assert.ok(first);
        await session.close(first);
        await session.close(await session.open("/held", Open.R));
      }),
    );
    assert.ok(growth < 100 * MIB, `the node grew by ${growth / MIB} MiB`);
    await session.drop();
    const again = await partner.rawOn(0);
    await until("the names of empty uploads are gone", async () =>
      (await again.list("/")).every(({ name }) => !name.toString().startsWith("new-") || name.toString() === "new-0"),
    );
    await again.end();
  });

  test("a client that asks for gigabytes and stops reading holds a bounded part of the node's memory", async () => {
    const session = await partner.rawOn(0);
    await session.put("/big", bytes(8 * MIB));
    const handle = await session.open("/big", Open.R);
    const growth = await memoryGrowth(pid(), () =>
      bystander.undisturbed(async () => {
        session.socket.pause();
        for (let i = 0; i < 4_000; i++) {
          session
            .request(Type.READ, "READ", string(handle), u64((i % 30) * 261_120), u32(261_120))
            .catch(() => undefined);
        }
      }),
    );
    assert.ok(growth < 150 * MIB, `the node grew by ${growth / MIB} MiB`);
    await session.drop();
  });

  test("a client that sends without reading replies is paused: memory stays, and what it gets later is right", async () => {
    const session = await partner.rawOn(0);
    let sent = 0;
    const growth = await memoryGrowth(pid(), () =>
      bystander.undisturbed(async () => {
        // The channel, not the socket: the transport goes on, so its window for us stays open as long as the node reads.
        session.channel.pause();
        const request = packet(Type.STAT, u32(5_000_000), string("/"));
        const many = Buffer.concat(Array.from({ length: 1_000 }, () => request));
        let stalled = false;
        while (!stalled && sent < 1_000_000) {
          sent += 1_000;
          if (session.sendBytes(many)) continue;
          stalled = await Promise.race([
            new Promise<false>((resolve) => session.channel.once("drain", () => resolve(false))),
            new Promise<true>((resolve) => setTimeout(() => resolve(true), 3_000)),
          ]);
        }
      }),
    );
    assert.ok(growth < 150 * MIB, `the node grew by ${growth / MIB} MiB after ${sent} requests`);
    session.channel.resume();
    await until("the replies come", () => session.strays.length > 1_000);
    assert.ok(session.strays.every((reply) => reply.kind === "attrs" && reply.id === 5_000_000));
    await session.drop();
  });

  test("a client that pours data in without waiting is slowed down, not stored in memory", async () => {
    const session: RawSftp = await partner.rawOn(0);
    const handle = await session.open("/poured", Open.W | Open.C | Open.T);
    const piece = bytes(256_000, "pour");
    const growth = await memoryGrowth(pid(), () =>
      bystander.undisturbed(async () => {
        const writes: Promise<void>[] = [];
        for (let i = 0; i < 800; i++) writes.push(session.write(handle, i * piece.length, piece));
        await Promise.all(writes);
        await session.close(handle);
      }),
    );
    assert.equal((await session.stat("/poured")).size, 800 * piece.length);
    assert.ok(growth < 150 * MIB, `the node grew by ${growth / MIB} MiB`);
    await session.remove("/poured");
    await session.end();
  });

  test("attributes and times at the edges of their numbers are kept or refused, never a crash", async () => {
    const session = await partner.rawOn(0);
    await session.put("/edges", bytes(10));
    for (const change of [{ mtime: 0xffffffff, atime: 0xffffffff }, { mtime: 0, atime: 0 }, { mode: 0xffffffff }]) {
      await codeOf(session.setstat("/edges", change));
    }
    await session.setstat("/edges", { mode: 0o100644 });
    const huge = Buffer.concat([u32(1), u64(2n ** 63n)]);
    const reply = await session.request(Type.SETSTAT, "SETSTAT size 2^63", string("/edges"), huge);
    assert.ok(reply.kind === "status" && reply.code !== Status.OK);
    assert.equal((await session.get("/edges")).length, 10);
    await session.end();
  });
});
