import assert from "node:assert/strict";
import { test } from "node:test";
import { ProxyHeaderReader, parseProxyHeader } from "./proxy-header.js";

const SIGNATURE = "0d0a0d0a000d0a515549540a";
const V4 = "c0000201" + "0a000001" + "c350" + "0016";

function header(versionCommand: number, familyTransport: number, body: string, length?: number): Buffer {
  const bytes = Buffer.from(body, "hex");
  const fixed = Buffer.from([versionCommand, familyTransport, 0, 0]);
  fixed.writeUInt16BE(length ?? bytes.length, 2);
  return Buffer.concat([Buffer.from(SIGNATURE, "hex"), fixed, bytes]);
}

function refusal(bytes: Buffer): string {
  const result = parseProxyHeader(bytes);
  assert.equal(result.state, "refused");
  return result.state === "refused" ? result.reason : "";
}

test("IPv4 over TCP gives the client's address and port", () => {
  const bytes = header(0x21, 0x11, V4);
  assert.deepEqual(parseProxyHeader(bytes), {
    state: "done",
    header: {
      command: "proxy",
      family: "ipv4",
      source: { address: "192.0.2.1", port: 50_000 },
      destination: { address: "10.0.0.1", port: 22 },
    },
    length: 28,
  });
});

test("IPv6 over TCP is normalised", () => {
  const source = "20010db8000000000000000000000009";
  const mapped = "00000000000000000000ffff0a000001";
  const result = parseProxyHeader(header(0x21, 0x21, `${source}${mapped}c3500016`));
  assert.equal(result.state, "done");
  assert.deepEqual(result.state === "done" && result.header, {
    command: "proxy",
    family: "ipv6",
    source: { address: "2001:db8::9", port: 50_000 },
    destination: { address: "10.0.0.1", port: 22 },
  });
});

test("LOCAL is accepted whatever its family says", () => {
  for (const family of [0x00, 0x11, 0x7f]) {
    const result = parseProxyHeader(header(0x20, family, ""));
    assert.deepEqual(result, { state: "done", header: { command: "local" }, length: 16 });
  }
});

test("UNIX and unspecified addresses are told apart from IP addresses", () => {
  const unix = parseProxyHeader(header(0x21, 0x31, "00".repeat(216)));
  assert.deepEqual(unix.state === "done" && unix.header, { command: "proxy", family: "unix" });
  const unspecified = parseProxyHeader(header(0x21, 0x00, "ffffffffff"));
  assert.deepEqual(unspecified.state === "done" && unspecified.header, { command: "proxy", family: "unspecified" });
});

test("extensions are skipped, and the bytes behind the header come back", () => {
  const extensions = "030004deadbeef" + "05000461626364" + "040000";
  const reader = new ProxyHeaderReader();
  const result = reader.push(Buffer.concat([header(0x21, 0x11, V4 + extensions), Buffer.from("SSH-2.0-x\r\n")]));
  assert.equal(result.state, "done");
  assert.equal(result.state === "done" && result.rest.toString(), "SSH-2.0-x\r\n");
});

test("a header that lies is refused with its lie", () => {
  assert.match(refusal(header(0x11, 0x11, V4)), /version 1, not 2/);
  assert.match(refusal(header(0x31, 0x11, V4)), /version 3/);
  assert.match(refusal(header(0x22, 0x11, V4)), /command 2/);
  assert.match(refusal(header(0x21, 0x41, V4)), /family 4/);
  assert.match(refusal(header(0x21, 0x13, V4)), /transport 3/);
  assert.match(refusal(header(0x21, 0x12, V4)), /datagrams/);
  assert.match(refusal(header(0x21, 0x10, V4)), /only one of family and transport/);
  assert.match(refusal(header(0x21, 0x01, V4)), /only one of family and transport/);
  assert.match(refusal(header(0x21, 0x11, V4.slice(2))), /11 bytes for a ipv4 address of 12/);
  assert.match(refusal(header(0x21, 0x21, V4)), /12 bytes for a ipv6 address of 36/);
  assert.match(refusal(header(0x21, 0x31, V4)), /12 bytes for a unix address of 216/);
  assert.match(refusal(header(0x21, 0x11, `${V4}030005dead`)), /longer than the header/);
  assert.match(refusal(header(0x21, 0x11, `${V4}0300`)), /longer than the header/);
});

test("a header is at most 536 bytes, and that is refused before the bytes are awaited", () => {
  const fits = header(0x21, 0x11, `${V4}04${(520 - 12 - 3).toString(16).padStart(4, "0")}${"00".repeat(520 - 12 - 3)}`);
  assert.equal(fits.length, 536);
  assert.equal(parseProxyHeader(fits).state, "done");
  assert.match(refusal(header(0x21, 0x11, "", 521)), /537 bytes; at most 536/);
  assert.match(refusal(header(0x20, 0x00, "", 65_535)), /at most 536/);
});

test("version 1, and no header at all, are named as soon as they show", () => {
  assert.match(refusal(Buffer.from("PROXY TCP4 192.0.2.1 10.0.0.1 50000 22\r\n")), /version 1.*send-proxy-v2/);
  assert.equal(parseProxyHeader(Buffer.from("PRO")).state, "more");
  assert.match(refusal(Buffer.from("PROBE")), /no PROXY protocol header/);
  assert.match(refusal(Buffer.from("S")), /no PROXY protocol header/);
  assert.match(refusal(Buffer.from("\r\n\r\n\0\r\nQUIX")), /no PROXY protocol header/);
  assert.equal(parseProxyHeader(Buffer.alloc(0)).state, "more");
});

test("byte by byte gives what one piece gives, and holds no more than the header", () => {
  const whole = Buffer.concat([header(0x21, 0x11, V4), Buffer.from("rest")]);
  const reader = new ProxyHeaderReader();
  for (const byte of whole.subarray(0, 27)) assert.equal(reader.push(Buffer.from([byte])).state, "more");
  const last = reader.push(whole.subarray(27));
  assert.equal(last.state === "done" && last.rest.toString(), "rest");
});
