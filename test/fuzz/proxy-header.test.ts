import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addressFromBytes } from "#lib/addresses.js";
import { MAX_PROXY_HEADER, ProxyHeaderReader, parseProxyHeader } from "#protocols/net/proxy-header.js";

/** The PROXY header is the first thing that a stranger's bytes meet: nothing in it may surprise us. */

const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const RUNS = 5_000;

const bytes = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((array) => Buffer.from(array));

/** Near the truth, so that the fuzz gets past the signature. */
const nearHeader = fc
  .record({
    signature: fc.oneof({ weight: 9, arbitrary: fc.constant(SIGNATURE) }, { weight: 1, arbitrary: bytes(12, 12) }),
    versionCommand: fc.oneof(fc.constantFrom(0x20, 0x21), fc.nat(255)),
    familyTransport: fc.oneof(fc.constantFrom(0x00, 0x11, 0x21, 0x31), fc.nat(255)),
    body: bytes(0, 600),
    lie: fc.oneof(
      { weight: 3, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: -40, max: 40 }) },
    ),
    rest: bytes(0, 64),
  })
  .map(({ signature, versionCommand, familyTransport, body, lie, rest }) => {
    const fixed = Buffer.from([versionCommand, familyTransport, 0, 0]);
    fixed.writeUInt16BE(Math.max(0, Math.min(65_535, body.length + lie)), 2);
    return Buffer.concat([signature, fixed, body, rest]);
  });

/** Cuts `input` at the given places and feeds it; stops at the first answer, as the listener does. */
function feed(input: Buffer, cuts: readonly number[]) {
  const reader = new ProxyHeaderReader();
  const places = [...new Set(cuts.map((cut) => cut % (input.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...places, input.length]) {
    const result = reader.push(input.subarray(from, to));
    from = to;
    if (result.state === "refused") return result;
    if (result.state === "done") return { ...result, rest: Buffer.concat([result.rest, input.subarray(from)]) };
  }
  return { state: "more" as const };
}

test("any chunking of any bytes has the same result", () => {
  fc.assert(
    fc.property(fc.oneof(bytes(0, 700), nearHeader), fc.array(fc.nat(), { maxLength: 12 }), (input, cuts) => {
      assert.deepEqual(feed(input, cuts), feed(input, []));
    }),
    { numRuns: RUNS },
  );
});

test("more bytes never change an answer, and 536 bytes always have one", () => {
  fc.assert(
    fc.property(fc.oneof(bytes(0, 700), nearHeader), bytes(0, 600), (input, more) => {
      const before = parseProxyHeader(input);
      if (before.state !== "more") assert.deepEqual(parseProxyHeader(Buffer.concat([input, more])), before);
      else assert.ok(input.length < MAX_PROXY_HEADER);
      if (before.state === "done") assert.ok(before.length <= Math.min(input.length, MAX_PROXY_HEADER));
    }),
    { numRuns: RUNS },
  );
});

const port = fc.nat(65_535);
const extension = fc.tuple(fc.nat(255), bytes(0, 60)).map(([type, value]) => {
  const head = Buffer.from([type, 0, 0]);
  head.writeUInt16BE(value.length, 1);
  return Buffer.concat([head, value]);
});

test("a true header comes back as it was written", () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      bytes(16, 16),
      bytes(16, 16),
      port,
      port,
      fc.array(extension, { maxLength: 6 }),
      bytes(0, 50),
      (six, source, destination, sourcePort, destinationPort, extensions, rest) => {
        const width = six ? 16 : 4;
        const ports = Buffer.alloc(4);
        ports.writeUInt16BE(sourcePort, 0);
        ports.writeUInt16BE(destinationPort, 2);
        const body = [source.subarray(0, width), destination.subarray(0, width), ports, ...extensions];
        const length = body.reduce((sum, part) => sum + part.length, 0);
        const fixed = Buffer.from([0x21, six ? 0x21 : 0x11, length >> 8, length & 0xff]);
        const result = feed(Buffer.concat([SIGNATURE, fixed, ...body, rest]), []);
        const spell = (raw: Buffer) => (six ? addressFromBytes(raw) : [...raw.subarray(0, 4)].join("."));
        assert.deepEqual(result, {
          state: "done",
          header: {
            command: "proxy",
            family: six ? "ipv6" : "ipv4",
            source: { address: spell(source), port: sourcePort },
            destination: { address: spell(destination), port: destinationPort },
          },
          rest,
        });
      },
    ),
    { numRuns: RUNS },
  );
});
