import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuditEntry } from "./contract.js";
import { createRefusalFilter, EACH, MOST_ADDRESSES, refusalKind } from "./refusals.js";

const from = (client: string, who = "ann"): AuditEntry => ({
  kind: "login-refused",
  what: "password",
  outcome: "refused",
  who,
  client,
});

test("of one address few are recorded each; the others are one record with their number and some names", () => {
  const filter = createRefusalFilter();
  const entries = Array.from({ length: EACH + 30 }, (_, i) => filter.admit(from("192.0.2.1", `user${i}`)));
  assert.equal(entries.filter((entry) => entry !== undefined).length, EACH);
  assert.ok(filter.admit(from("192.0.2.2")), "another address isn't held to it");
  const [said, ...more] = filter.conclude();
  assert.deepEqual(more, []);
  assert.deepEqual([said?.client, said?.details?.count], ["192.0.2.1", 30]);
  assert.deepEqual(said?.details?.accounts, ["user20", "user21", "user22", "user23", "user24"]);
  assert.ok(filter.admit(from("192.0.2.1")), "a new period");
  assert.deepEqual(filter.conclude(), []);
});

test("an IPv6 network counts as one address, however it is written", () => {
  const filter = createRefusalFilter();
  const spellings = ["2001:db8::1", "2001:DB8:0:0:1::9", "2001:0db8:0000:0000:ffff:1:2:3", "2001:db8::ffff"];
  for (let i = 0; i < EACH; i += 1) filter.admit(from(spellings[i % spellings.length] as string));
  for (const address of spellings) assert.equal(filter.admit(from(address)), undefined, address);
  assert.ok(filter.admit(from("2001:db8:0:1::1")));
  assert.deepEqual(
    filter.conclude().map(({ client }) => client),
    ["2001:db8:0:0::/64"],
  );
});

test("any number of addresses makes a bounded number of records", () => {
  const filter = createRefusalFilter();
  let recorded = 0;
  for (let i = 0; i < 3 * MOST_ADDRESSES; i += 1) {
    if (filter.admit(from(`10.0.${i >> 8}.${i & 255}`)) !== undefined) recorded += 1;
  }
  assert.equal(recorded, MOST_ADDRESSES + EACH);
  const said = filter.conclude();
  assert.deepEqual(
    said.map(({ client, details }) => [client, details?.count]),
    [["others", 2 * MOST_ADDRESSES - EACH]],
  );
});

test("refused logins, file operations and admin requests are counted; what was done is recorded each time", () => {
  const entry = (kind: AuditEntry["kind"], outcome: string) => refusalKind({ kind, what: "x", outcome });
  assert.equal(entry("login-refused", "refused"), "login-refused");
  assert.equal(entry("file", "refused"), "file");
  assert.equal(entry("file", "ok"), undefined);
  assert.equal(entry("admin", "denied"), "admin");
  assert.equal(entry("admin", "refused"), undefined, "a change that an administrator asked for");
  const filter = createRefusalFilter("admin");
  for (let i = 0; i < EACH + 2; i += 1)
    filter.admit({ kind: "admin", what: "get", outcome: "denied", client: "192.0.2.1" });
  const [said] = filter.conclude();
  assert.deepEqual([said?.kind, said?.what, said?.outcome, said?.details?.count], ["admin", "many", "denied", 2]);
});
