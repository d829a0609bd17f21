import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addressFromBytes,
  canonicalNetwork,
  limitKey,
  normalizeAddress,
  overlaps,
  parseNetworks,
} from "./addresses.js";

test("an address has one spelling", () => {
  assert.equal(normalizeAddress("192.0.2.1"), "192.0.2.1");
  assert.equal(normalizeAddress("::ffff:192.0.2.1"), "192.0.2.1");
  assert.equal(normalizeAddress("::FFFF:c000:201"), "192.0.2.1");
  assert.equal(normalizeAddress("2001:DB8:0:0::1"), "2001:db8::1");
  assert.equal(normalizeAddress("fe80::1%eth0"), "fe80::1");
  assert.equal(normalizeAddress("::1"), "::1");
  for (const text of ["", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.256", "::g", "1.2.3.4:22"]) {
    assert.equal(normalizeAddress(text), undefined, text);
  }
});

test("bytes of IPv6 are spelled like text", () => {
  assert.equal(addressFromBytes(Buffer.from("20010db8000000000000000000000001", "hex")), "2001:db8::1");
  assert.equal(addressFromBytes(Buffer.from("00000000000000000000ffffc0000201", "hex")), "192.0.2.1");
  assert.equal(addressFromBytes(Buffer.alloc(16)), "::");
});

test("limits count IPv4 by address and IPv6 by /64", () => {
  assert.equal(limitKey("192.0.2.1"), "192.0.2.1");
  assert.equal(limitKey("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  assert.equal(limitKey("2001:db8:1:2::9"), limitKey("2001:db8:1:2:aaaa::1"));
  assert.notEqual(limitKey("2001:db8:1:2::9"), limitKey("2001:db8:1:3::9"));
  assert.equal(limitKey("::1"), "0:0:0:0::/64");
  assert.equal(limitKey("fe80::"), "fe80:0:0:0::/64");
});

test("networks hold their addresses in every spelling, and nothing else", () => {
  const networks = parseNetworks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:172.16.0.0/108"]);
  for (const inside of ["10.255.0.1", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:ffff::1", "172.31.0.1"]) {
    assert.ok(networks.includes(inside), inside);
  }
  for (const outside of ["11.0.0.1", "192.0.2.8", "2001:db9::1", "172.32.0.1", "::", "", "10.0.0", "balancer"]) {
    assert.ok(!networks.includes(outside), outside);
  }
  assert.ok(parseNetworks(["0.0.0.0/0"]).includes("203.0.113.9"));
  assert.ok(!parseNetworks(["0.0.0.0/0"]).includes("2001:db8::1"));
  assert.ok(!parseNetworks([]).includes("10.0.0.1"));
});

test("a faulty network is named", () => {
  for (const entry of ["10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "10.0.0.0/8/8", "::ffff:10.0.0.0/90", "x"]) {
    assert.throws(
      () => parseNetworks(["10.0.0.1", entry]),
      (error: unknown) => error instanceof Error && error.message.includes(`"${entry}"`),
    );
  }
});

test("a network has one spelling, with its host bits cleared", () => {
  const spelled = (text: string) => canonicalNetwork(text);
  assert.equal(spelled("192.0.2.7"), "192.0.2.7");
  assert.equal(spelled("192.0.2.7/32"), "192.0.2.7");
  assert.equal(spelled("192.0.2.7/24"), "192.0.2.0/24");
  assert.equal(spelled("0.0.0.0/0"), "0.0.0.0/0");
  assert.equal(spelled("2001:DB8:0:1:2:3:4:5/64"), "2001:db8:0:1::/64");
  assert.equal(spelled("::ffff:192.0.2.7"), "192.0.2.7");
  assert.equal(spelled("::ffff:192.0.2.7/120"), "192.0.2.0/24");
  assert.equal(spelled(`${limitKey("2001:db8::7")}`), "2001:db8::/64");
  for (const bad of ["", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "::/129", "1.2.3.4/8/8", "::ffff:1.2.3.4/8"])
    assert.equal(spelled(bad), undefined, bad);
});

test("overlapping networks are known by either side", () => {
  assert.equal(overlaps("192.0.2.0/24", "192.0.2.7"), true);
  assert.equal(overlaps("192.0.2.7", "192.0.2.0/24"), true);
  assert.equal(overlaps("192.0.2.0/24", "192.0.3.0/24"), false);
  assert.equal(overlaps("0.0.0.0/0", "203.0.113.1"), true);
  assert.equal(overlaps("0.0.0.0/0", "2001:db8::1"), false);
  assert.equal(overlaps("2001:db8::/32", "2001:db8:1::/64"), true);
});
