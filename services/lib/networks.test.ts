import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ALL_IPV4, isInNetworks, type Network, parseNetwork, subtractNetworks } from "./networks.js";

const networks = (...texts: string[]) => texts.map((text) => parseNetwork(text) as Network);

test("addresses and networks of both families are read, anything else isn't", () => {
  assert.deepEqual(parseNetwork("0.0.0.0/0"), ALL_IPV4);
  assert.deepEqual(parseNetwork("192.0.2.77/24"), parseNetwork("192.0.2.0/24"));
  assert.deepEqual(parseNetwork("::ffff:192.0.2.1"), parseNetwork("192.0.2.1"));
  assert.deepEqual(parseNetwork("2001:db8::1"), parseNetwork("2001:0db8:0:0:0:0:0:1/128"));
  for (const text of [
    "",
    "192.0.2",
    "192.0.2.1/33",
    "::/129",
    "192.0.2.1/",
    "192.0.2.1/-1",
    "fe80::1%eth0",
    "a/8",
    "1.2.3.4/8/8",
  ]) {
    assert.equal(parseNetwork(text), undefined, text);
  }
});

test("an address is in a network by its bits, never by its spelling", () => {
  assert.ok(isInNetworks("192.0.2.255", networks("192.0.2.0/24")));
  assert.ok(!isInNetworks("192.0.3.0", networks("192.0.2.0/24")));
  assert.ok(isInNetworks("::ffff:10.1.2.3", networks("10.0.0.0/8")));
  assert.ok(!isInNetworks("10.1.2.3", networks("::/0")));
  assert.ok(isInNetworks("2001:db8:ffff::", networks("2001:db8::/32")));
  assert.ok(!isInNetworks("nonsense", networks("0.0.0.0/0", "::/0")));
});

test("what is left after a subtraction is exactly what was in the one and not in the other", () => {
  const octet = fc.integer({ min: 0, max: 255 });
  const address = fc.tuple(octet, octet).map(([a, b]) => `10.0.${a}.${b}`);
  const network = fc.tuple(address, fc.integer({ min: 16, max: 32 })).map(([at, bits]) => `${at}/${bits}`);
  const list = fc.array(network, { maxLength: 6 });
  fc.assert(
    fc.property(list, list, fc.array(address, { minLength: 20, maxLength: 20 }), (wanted, taken, probes) => {
      const left = subtractNetworks(networks(...wanted), networks(...taken));
      for (const probe of [...probes, ...wanted.map((each) => each.split("/")[0] ?? "")]) {
        const expected = isInNetworks(probe, networks(...wanted)) && !isInNetworks(probe, networks(...taken));
        assert.equal(isInNetworks(probe, left), expected, probe);
      }
    }),
  );
});
