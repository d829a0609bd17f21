import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { clientAddress, createRefusalLog } from "./refusal-log.js";

test("a flood of refusals is counted whole and logged in part, and the log says how many it left out", () => {
  const lines: Readonly<Record<string, unknown>>[] = [];
  const silent = () => {};
  const logger: Logger = {
    debug: silent,
    info: silent,
    error: silent,
    warn: (_message, fields = {}) => void lines.push(fields),
    child: () => logger,
  };
  let counted = 0;
  let time = 0;
  const refuse = createRefusalLog({ logger, onRefusal: () => counted++, now: () => time });
  const one = { address: "192.0.2.1", method: "GET", path: "/api/v1/site" };
  for (let at = 0; at < 1_000; at++) refuse("unknown", one);
  assert.equal(counted, 1_000);
  assert.equal(lines.length, 20);
  time = 10_000;
  refuse("role", { ...one, path: "x".repeat(10_000), administrator: "ann" });
  assert.equal(lines.length, 21);
  assert.equal(lines[20]?.leftOut, 980);
  assert.equal(lines[20]?.administrator, "ann");
  assert.equal(String(lines[20]?.path).length, 200);
});

test("only a balancer's word about the client's address is taken", () => {
  assert.equal(clientAddress("::ffff:192.0.2.1", "198.51.100.7", ["192.0.2.0/24"]), "198.51.100.7");
  assert.equal(clientAddress("192.0.2.1", "203.0.113.9, 198.51.100.7", ["192.0.2.1"]), "198.51.100.7");
  assert.equal(clientAddress("192.0.3.1", "198.51.100.7", ["192.0.2.0/24"]), "192.0.3.1");
  assert.equal(clientAddress("192.0.2.1", "nonsense", ["192.0.2.0/24"]), "192.0.2.1");
  assert.equal(clientAddress("2001:db8::1", "2001:db8:1::2", ["2001:db8::/64"]), "2001:db8:1::2");
  assert.equal(clientAddress("192.0.2.1", "198.51.100.7", []), "192.0.2.1");
  assert.equal(clientAddress(undefined, "198.51.100.7", ["192.0.2.0/24"]), "");
});
