import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FramingLost, MalformedPacket, type Packet, PacketStream } from "#protocols/sftp/codec.js";
import { MAX_PACKET } from "#protocols/sftp/protocol.js";
import { decodeRequest } from "#protocols/sftp/requests.js";

/** A logged-in partner's bytes are a stranger's bytes: no chunking and no lie may surprise the SFTP parser. */

const RUNS = 2_000;

const bytes = (max: number) => fc.uint8Array({ maxLength: max }).map((array) => Buffer.from(array));

function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value >>> 0);
  return buffer;
}

/** Fields as SFTP has them, some of which lie about their length. */
const field = fc.oneof(
  bytes(64).map((text) => Buffer.concat([u32(text.length), text])),
  fc.tuple(fc.nat(0xffff_ffff), bytes(64)).map(([length, text]) => Buffer.concat([u32(length), text])),
  fc.nat(0xffff_ffff).map(u32),
  bytes(9),
);

/** Well framed packets of every type, with bodies between right and nonsense. */
const framed = fc
  .tuple(
    fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(6, 6, 200), fc.nat(255)),
    fc.nat(0xffff_ffff),
    fc.array(field, { maxLength: 6 }),
    fc.oneof(fc.constant(0), fc.nat(6_000), fc.nat(60_000)),
  )
  .map(([type, id, fields, tail]) => {
    const body = Buffer.concat([Buffer.from([type]), u32(id), ...fields, Buffer.alloc(tail, type)]);
    return Buffer.concat([u32(body.length), body]);
  });

/** Copied before its memory is used for the next one; released, so that it is. */
function keep({ type, id, body, payload, blocks }: Packet): Packet {
  const kept = { type, id, body: Buffer.from(body), payload: [Buffer.concat(payload)], blocks: [] };
  for (const block of blocks) block.release();
  return kept;
}

/** All packets of `input`, cut at `cuts`; stops where framing is lost. */
function packetsOf(input: Buffer, cuts: readonly number[]): { packets: Packet[]; lost: boolean; held: number } {
  const stream = new PacketStream();
  const packets: Packet[] = [];
  const places = [...new Set(cuts.map((cut) => cut % (input.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  let held = 0;
  try {
    for (const to of [...places, input.length]) {
      // Each chunk is gone once it was taken, as a socket's reads are.
      const chunk = Buffer.from(input.subarray(from, to));
      stream.push(chunk);
      chunk.fill(0xee);
      from = to;
      for (let packet = stream.next(); packet !== undefined; packet = stream.next()) packets.push(keep(packet));
      held = Math.max(held, stream.available);
    }
  } catch (error) {
    assert.ok(error instanceof FramingLost, `only FramingLost may be thrown, not ${String(error)}`);
    return { packets, lost: true, held };
  }
  return { packets, lost: false, held };
}

const flat = ({ type, id, body, payload }: Packet) => ({
  type,
  id,
  body: body.toString("hex"),
  payload: Buffer.concat([...payload]).toString("hex"),
});

test("however the stream is cut, the same packets come out", () => {
  fc.assert(
    fc.property(fc.array(framed, { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 40 }), (packets, cuts) => {
      const input = Buffer.concat(packets);
      const whole = packetsOf(input, []);
      const cut = packetsOf(input, cuts);
      assert.equal(whole.packets.length, packets.length);
      assert.deepEqual(cut.packets.map(flat), whole.packets.map(flat));
    }),
    { numRuns: RUNS },
  );
});

test("byte by byte too", () => {
  fc.assert(
    fc.property(fc.array(framed, { maxLength: 3 }), (packets) => {
      const input = Buffer.concat(packets);
      const each = Array.from(input, (_, index) => index);
      assert.deepEqual(packetsOf(input, each).packets.map(flat), packetsOf(input, []).packets.map(flat));
    }),
    { numRuns: 100 },
  );
});

test("arbitrary bytes throw nothing but FramingLost, and never hold more than a packet", () => {
  fc.assert(
    fc.property(bytes(4_000), fc.array(fc.nat(), { maxLength: 20 }), (input, cuts) => {
      assert.ok(packetsOf(input, cuts).held <= MAX_PACKET + 4);
    }),
    { numRuns: RUNS },
  );
});

test("a decoder says MalformedPacket or gives a request, whatever the body", () => {
  fc.assert(
    fc.property(fc.array(framed, { minLength: 1, maxLength: 4 }), (packets) => {
      for (const packet of packetsOf(Buffer.concat(packets), []).packets) {
        try {
          const request = decodeRequest(packet);
          if (request.name === "write" && request.payload !== undefined) {
            assert.equal(
              request.payload.reduce((sum, view) => sum + view.length, 0),
              request.bytes,
            );
          }
        } catch (error) {
          assert.ok(error instanceof MalformedPacket, String(error));
        }
      }
    }),
    { numRuns: RUNS },
  );
});

test("a stated length costs nothing before its bytes have come", () => {
  fc.assert(
    fc.property(fc.integer({ min: 5, max: MAX_PACKET }), bytes(100), (length, some) => {
      const stream = new PacketStream();
      stream.push(Buffer.concat([u32(length), some.subarray(0, Math.min(some.length, length - 1))]));
      assert.equal(stream.next(), undefined);
      assert.ok(stream.available <= 104);
    }),
    { numRuns: 500 },
  );
});
