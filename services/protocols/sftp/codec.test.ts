import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FramingLost, MalformedPacket, type Packet, PacketStream } from "./codec.js";
import { MAX_PACKET, PacketType } from "./protocol.js";
import { decodeRequest } from "./requests.js";

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const u64 = (value: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
};
const text = (value: string | Buffer) => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);
const packet = (type: number, id: number, ...fields: Buffer[]) => {
  const body = Buffer.concat([Buffer.from([type]), u32(id), ...fields]);
  return Buffer.concat([u32(body.length), body]);
};
const write = (id: number, offset: number, data: Buffer, claimed = data.length) =>
  packet(PacketType.WRITE, id, text(u32(7)), u64(BigInt(offset)), u32(claimed), data);

function one(bytes: Buffer): Packet {
  const stream = new PacketStream();
  stream.push(bytes);
  const found = stream.next();
  assert.ok(found);
  return found;
}

describe("packets out of chunks", () => {
  test("a WRITE's data outlive the chunks that they came in", () => {
    const data = Buffer.alloc(100_000, 3);
    const bytes = write(5, 10, data);
    const stream = new PacketStream();
    for (const chunk of [bytes.subarray(0, 40_000), bytes.subarray(40_000, 80_000), bytes.subarray(80_000)]) {
      const read = Buffer.from(chunk);
      stream.push(read);
      read.fill(9);
    }
    const found = stream.next();
    assert.equal(found?.payload.length, 1, "contiguous chunks lie together");
    assert.deepEqual(Buffer.concat(found?.payload ?? []), data);
    assert.equal(stream.available, 0);
  });

  test("a payload's memory is used again when it is released, and not before", () => {
    const stream = new PacketStream();
    const next = (byte: number) => {
      stream.push(write(1, 0, Buffer.alloc(200_000, byte)));
      const found = stream.next();
      assert.ok(found);
      return found;
    };
    const [first, second, third] = [next(1), next(2), next(3)];
    for (const [index, { payload }] of [first, second, third].entries()) {
      assert.ok(Buffer.concat([...payload]).equals(Buffer.alloc(200_000, index + 1)));
    }
    const memory = first.payload[0]?.buffer;
    for (const block of first.blocks) block.release();
    assert.equal(next(4).payload[0]?.buffer, memory);
    assert.ok(Buffer.concat([...second.payload]).equals(Buffer.alloc(200_000, 2)));
  });

  test("a WRITE of few bytes is copied, so that waiting it keeps no block from being used again", () => {
    const bytes = Buffer.concat([write(5, 0, Buffer.from("few")), Buffer.alloc(60_000)]);
    const found = one(bytes);
    assert.deepEqual(found.blocks, []);
    assert.equal(String(found.payload[0]), "few");
  });

  test("a packet that comes byte by byte is held in blocks, not in as many views", () => {
    const bytes = write(1, 0, Buffer.alloc(20_000, 1));
    const stream = new PacketStream();
    for (let at = 0; at < bytes.length; at += 1) {
      assert.equal(stream.next(), undefined);
      stream.push(bytes.subarray(at, at + 1));
    }
    assert.ok((stream.next()?.payload.length ?? 99) <= 6);
  });

  test("a length that nobody can mean ends the channel as soon as it is seen", () => {
    for (const length of [0, 4, MAX_PACKET + 1, 0xffff_ffff]) {
      const stream = new PacketStream();
      stream.push(u32(length));
      assert.throws(() => stream.next(), FramingLost);
    }
  });

  test("a WRITE whose handle claims more than the packet is refused alone; the next packet is read", () => {
    const stream = new PacketStream();
    stream.push(packet(PacketType.WRITE, 1, u32(0xffff_fff0), Buffer.alloc(500)));
    stream.push(packet(PacketType.CLOSE, 2, text(u32(9))));
    const bad = stream.next();
    assert.ok(bad);
    assert.throws(() => decodeRequest(bad), MalformedPacket);
    const good = stream.next();
    assert.ok(good);
    assert.deepEqual(decodeRequest(good), { name: "close", handle: 9 });
  });
});

describe("requests out of packets", () => {
  test("OPEN, with attributes; owner and type bits are read over", () => {
    const attributes = Buffer.concat([u32(1 | 2 | 4 | 8), u64(12n), u32(1), u32(2), u32(0o100640), u32(3), u32(4)]);
    assert.deepEqual(decodeRequest(one(packet(PacketType.OPEN, 1, text("/a"), u32(2 | 8 | 16), attributes))), {
      name: "open",
      path: "/a",
      intent: {
        read: false,
        write: true,
        append: false,
        create: true,
        truncate: true,
        exclusive: false,
        attributes: { size: 12, mode: 0o640, atime: 3, mtime: 4 },
      },
    });
  });

  test("rclone 1.60 sends its whole buffer behind the last piece of a file: what the length says counts", () => {
    const request = decodeRequest(one(write(1, 0, Buffer.alloc(32_768, 9), 1_000)));
    assert.ok(request.name === "write");
    assert.equal(request.bytes, 1_000);
    assert.equal(Buffer.concat([...(request.payload ?? [])]).length, 1_000);
  });

  test("a WRITE with fewer bytes than it claims keeps its handle's name, so that the handle fails", () => {
    const request = decodeRequest(one(write(1, 0, Buffer.alloc(10), 11)));
    assert.deepEqual(request, { name: "write", handle: 7, offset: 0, bytes: 11, payload: undefined, blocks: [] });
  });

  test("a READ is clamped to what limits@openssh.com says", () => {
    const request = decodeRequest(one(packet(PacketType.READ, 1, text(u32(1)), u64(5n), u32(0xffff_ffff))));
    assert.deepEqual(request, { name: "read", handle: 1, offset: 5, length: 261_120 });
  });

  test("names that name nothing, lying lengths and numbers past 2^53 are refused", () => {
    const bad = [
      packet(PacketType.STAT, 1, text(Buffer.from([0x2f, 0xff]))),
      packet(PacketType.STAT, 1, text("/a\0b")),
      packet(PacketType.STAT, 1, text(`/${"a".repeat(5_000)}`)),
      packet(PacketType.STAT, 1, u32(100), Buffer.from("/a")),
      packet(PacketType.STAT, 1),
      packet(PacketType.READ, 1, text(u32(1)), u64(2n ** 53n), u32(1)),
      packet(PacketType.SETSTAT, 1, text("/a"), u32(0x8000_0000), u32(0xffff_ffff)),
      packet(PacketType.RENAME, 1, text("/a")),
    ];
    for (const bytes of bad) assert.throws(() => decodeRequest(one(bytes)), MalformedPacket);
  });

  test("a handle that isn't of our making is none", () => {
    assert.deepEqual(decodeRequest(one(packet(PacketType.CLOSE, 1, text("longer")))), { name: "close", handle: 0 });
  });

  test("a type that version 3 doesn't have is a request of its own", () => {
    assert.deepEqual(decodeRequest(one(packet(77, 1))), { name: "unknown", type: 77 });
  });
});
