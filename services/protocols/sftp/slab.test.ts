import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { PacketStream } from "./codec.js";
import { PACKET_HEAD, type PacketShape, selfTest } from "./raw-channel.js";
import { SLAB_DATA, SlabReply, slabs } from "./slab.js";

const GCM: PacketShape = { kind: "aes-gcm", block: 16, apart: 4, tag: 16 };
const SHAPES: readonly PacketShape[] = [
  GCM,
  { kind: "chacha20-poly1305", block: 8, apart: 4, tag: 16 },
  { kind: "generic", block: 16, apart: 0, tag: 64 },
];

/** Takes the packets apart as a client would after decrypting, and returns the channel's stream. */
function streamOf(wire: Buffer, shape: PacketShape, packetSize: number): Buffer {
  const data: Buffer[] = [];
  let at = 0;
  while (at < wire.length) {
    const length = wire.readUInt32BE(at);
    const padding = wire[at + 4] ?? 0;
    const bytes = wire.readUInt32BE(at + 10);
    assert.ok(padding >= 4);
    assert.equal((4 + length - shape.apart) % shape.block, 0, "whole blocks");
    assert.equal(wire[at + 5], 94);
    assert.equal(length, 1 + 9 + bytes + padding);
    assert.ok(bytes <= packetSize);
    data.push(wire.subarray(at + PACKET_HEAD, at + PACKET_HEAD + bytes));
    at += 4 + length + shape.tag;
  }
  return Buffer.concat(data);
}

/** Reads `bytes` of `content` into a slab for these lengths; returns the replies' data in order. */
function throughSlab(shape: PacketShape, packetSize: number, lengths: readonly number[], content: Buffer): Buffer[] {
  const memory = slabs.take();
  assert.ok(memory);
  const requests = lengths.map((length, index) => ({ id: 100 + index, offset: 0, length }));
  let freed = 0;
  const reply = new SlabReply(memory, shape, packetSize, requests, () => {
    freed += 1;
  });
  let copied = 0;
  for (const view of reply.views) copied += content.copy(view, 0, copied);
  const answered = reply.filled(Math.min(copied, content.length));
  const wire: Buffer[] = [];
  // In two parts, as a window that opens late has it.
  for (const window of [packetSize * 2, Number.MAX_SAFE_INTEGER]) {
    const part = reply.sealUpTo(window, 3, () => {});
    if (part !== undefined) wire.push(Buffer.from(part));
  }
  assert.ok(reply.finished);
  reply.drop();
  assert.equal(freed, 1);
  const stream = new PacketStream();
  stream.push(streamOf(Buffer.concat(wire), shape, packetSize));
  const data: Buffer[] = [];
  for (let packet = stream.next(); packet !== undefined; packet = stream.next()) {
    assert.equal(packet.type, 103);
    assert.equal(packet.id, 100 + data.length);
    assert.equal(packet.body.readUInt32BE(0), packet.body.length - 4);
    data.push(packet.body.subarray(4));
  }
  assert.equal(stream.available, 0);
  assert.equal(data.length, answered);
  return data;
}

test("what is read into a slab comes out as the replies that were asked for", () => {
  const content = randomBytes(SLAB_DATA);
  const cases: ReadonlyArray<readonly [packetSize: number, lengths: readonly number[]]> = [
    [32_768, [261_120, 261_120, 261_120, 261_120]],
    [32_768, Array.from({ length: 32 }, () => 32_768)],
    [32_500, Array.from({ length: 30 }, () => 30_000)],
    [16_384, [100_000, 1, 2, 16_371, 16_384]],
    [4_096, Array.from({ length: 64 }, () => 16_384)],
  ];
  for (const shape of SHAPES) {
    for (const [packetSize, lengths] of cases) {
      const data = throughSlab(shape, packetSize, lengths, content);
      assert.deepEqual(
        data.map((piece) => piece.length),
        lengths,
      );
      const all = Buffer.concat(data);
      assert.ok(all.equals(content.subarray(0, all.length)));
    }
  }
});

test("a read that met the end of the file answers what it covers, the last one shorter", () => {
  const lengths = [20_000, 20_000, 20_000];
  for (const bytes of [1, 12_755, 19_999, 20_000, 20_001, 40_000, 59_999]) {
    const content = randomBytes(bytes);
    const data = throughSlab(GCM, 32_768, lengths, content);
    assert.ok(Buffer.concat(data).equals(content));
    assert.equal(data.length, Math.ceil(bytes / 20_000));
  }
});

test("each of ssh2's native ciphers is as the fast path expects it", () => {
  assert.deepEqual([...selfTest()].sort(), ["aes-gcm", "chacha20-poly1305", "generic"]);
});
