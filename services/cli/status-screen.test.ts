import assert from "node:assert/strict";
import { test } from "node:test";
import { faultsOf, statusSchema, statusScreen } from "./status-screen.js";

const load = { sessions: 2, transfers: 1, bytesPerSecond: 2_048 };
const node = (at: number, more: object = {}) => ({
  id: `id-${at}`,
  name: `node-${at}`,
  state: "ready",
  reasons: [],
  revision: 40,
  hash: "abc",
  lagMs: 0,
  version: "1.0.0",
  load,
  ...more,
});

function site(nodes: object[], more: object = {}) {
  return statusSchema.parse({
    node: { id: "id-1", name: "node-1", state: "ready", leaseUsable: true, storage: { healthy: true } },
    config: { revision: 40, hash: "abc", lagMs: 0, faults: [], trouble: null },
    nodes,
    nodesBehindMs: 0,
    ...more,
  });
}

test("a site that is well is one screen with its sums and no faults", () => {
  const screen = statusScreen(site([node(1), node(2), node(3)], { coordinator: { node: "id-2" } }));
  assert.match(screen, /^3 nodes, 3 ready, 6 sessions, 3 transfers, 6\.0 KiB\/s; asked node-1 \(ready\)/);
  assert.match(screen, /^node-2 +ready +coordinator +40 +- +2 +1 +2\.0 KiB\/s +1\.0\.0 +id-2$/m);
  assert.match(screen, /no faults\n$/);
  assert.ok(screen.split("\n").length < 24);
});

test("active-passive: who is the active one, that passive is no fault, and that nobody is one", () => {
  const nodes = [node(1, { state: "passive", reasons: ["node-2 is the active node"] }), node(2)];
  const mode = "active-passive";
  const screen = statusScreen(
    site(nodes, { mode, active: { id: "id-2", name: "node-2" }, coordinator: { name: "node-1" } }),
  );
  assert.match(screen, /^2 nodes, 1 ready, 1 passive, /);
  assert.match(screen, /^node-1 +passive +passive\+coordinator /m);
  assert.match(screen, /^node-2 +ready +active /m);
  assert.match(screen, /no faults\n$/);
  const none = site([node(1, { state: "passive" })], { mode, active: null });
  assert.deepEqual(faultsOf(none), ["no node is the active one: nobody takes partners"]);
});

test("each fault is named with its node", () => {
  const cases: [object[], object, RegExp][] = [
    [[node(1), node(2, { state: "draining", reasons: ["an operator wished it"] })], {}, /^node-2: draining \(an op/],
    [[node(1), node(2, { revision: 39 })], {}, /^node-2: has revision 39 in force, not 40/],
    [
      [node(1), node(2)],
      { clocksOff: [{ name: "node-2", offsetMs: -3_600_400 }] },
      /^node-2: its clock is 3600 s behind the site's: keep it by NTP$/,
    ],
    [[node(1), node(2, { hash: "other" })], {}, /^node-2: .*hash mismatch/],
    [[node(1), node(2, { version: "1.1.0" })], {}, /different versions: 1\.0\.0, 1\.1\.0/],
    [
      [node(1), node(2, { certificates: [{ use: "admin", notAfter: Date.now() + 86_400_000 * 5 }] })],
      {},
      /^node-2: its certificate \(admin\) ends on \d{4}-/,
    ],
    [
      [node(1, { certificates: [{ use: "etcd-client", notAfter: Date.now() - 1 }] })],
      {},
      /^node-1: its certificate \(etcd-client\) ended on/,
    ],
    [
      [node(1), node(2)],
      { config: { revision: 40, hash: "abc", otherCertificates: [{ node: "node-2", use: "admin" }] } },
      /^node-2: has another certificate \(admin\) than node-1/,
    ],
    [[node(2)], {}, /^node-1: ready, isn't among the nodes/],
    [[node(1)], { nodesBehindMs: 9_000 }, /9 s ago/],
    [
      [node(1)],
      { config: { revision: 40, hash: "abc", faults: [{ key: "config/accounts/x", path: "home", message: "no" }] } },
      /^config\/accounts\/x home: no; the last good/,
    ],
    [[node(1)], { node: { id: "id-1", name: "node-1", state: "cut-off", leaseUsable: false } }, /^node-1: no quorum/],
  ];
  for (const [nodes, more, expected] of cases) {
    const faults = faultsOf(site(nodes, more));
    assert.equal(faults.length, 1, faults.join("\n"));
    assert.match(faults[0] ?? "", expected);
  }
});

test("what a terminal would obey is shown instead", () => {
  const name = "node\u001b[2J";
  const reasons = ["\u001b[2J"];
  for (const nodes of [[node(1, { name })], [node(1), node(2, { state: "draining", reasons })]]) {
    assert.ok(!statusScreen(site(nodes)).includes("\u001b"));
  }
});

test("an answer with more fields, or of an older version, is understood", () => {
  const older = {
    node: { id: "a", name: "a", state: "ready" },
    config: { revision: 1 },
    nodes: [{ id: "a", name: "a", state: "ready" }],
  };
  assert.match(statusScreen(statusSchema.parse({ ...older, new: 1 })), /^1 node, 1 ready/);
});
