import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  type ActiveSituation,
  type Candidate,
  decideActive,
  GATHER_MS,
  nextActive,
  roleOf,
  SETTLE_MS,
  STABLE_MS,
  STAGGER_MS,
} from "./active-decide.js";

const node = (slot: number, state: Candidate["state"] = "passive"): Candidate => ({
  id: `id-${slot}`,
  name: `node-${slot}`,
  slot,
  state,
});

const own = { incarnation: "own", id: "id-2", name: "node-2", slot: 2 };
/** Node 2 of three, passive for long; node 1 was the active one and is gone. */
const left: ActiveSituation = {
  mode: "active-passive",
  order: [],
  own,
  known: true,
  held: undefined,
  state: "passive",
  unwellMs: 0,
  unhealthyMs: 10_000,
  members: [node(2), node(3)],
  absentMs: 0,
  joinedMs: 60_000,
  formerSelfMs: undefined,
};
const heldByOther = { incarnation: "other", id: "id-1", generation: 7 };
const heldByOwn = { incarnation: "own", id: "id-2", generation: 7 };

describe("which node takes the key `active`", () => {
  test("the first of those that are left, at once", () => {
    assert.deepEqual(decideActive(left), { act: "campaign" });
  });

  test("the next one only when the first had its time", () => {
    const third = { ...left, own: { ...own, id: "id-3", name: "node-3", slot: 3 } };
    assert.deepEqual(decideActive({ ...third, absentMs: STAGGER_MS - 1 }), { act: "rest" });
    assert.deepEqual(decideActive({ ...third, absentMs: STAGGER_MS }), { act: "campaign" });
    assert.deepEqual(decideActive({ ...third, order: ["node-3"] }), { act: "campaign" }, "the order puts it first");
    assert.deepEqual(decideActive({ ...third, members: [node(2, "draining"), node(3)] }), { act: "campaign" });
    assert.deepEqual(decideActive({ ...third, members: [node(2, "cut-off"), node(3)] }), { act: "campaign" });
  });

  test("a whole site that starts waits some seconds for the one that the order names first", () => {
    const young = { ...left, order: ["node-9", "node-2"], joinedMs: GATHER_MS - 1, absentMs: 60_000 };
    assert.deepEqual(decideActive(young), { act: "rest" });
    assert.deepEqual(decideActive({ ...young, joinedMs: GATHER_MS }), { act: "campaign" });
    assert.deepEqual(decideActive({ ...young, order: ["node-2", "node-9"] }), { act: "campaign" });
    const joining = { ...young, order: ["node-1", "node-2"], members: [node(1, "joining"), node(2), node(3)] };
    assert.deepEqual(decideActive(joining), { act: "rest" }, "it is a member, but has no storage yet");
    assert.deepEqual(decideActive({ ...joining, joinedMs: GATHER_MS }), { act: "campaign" });
    assert.deepEqual(decideActive({ ...joining, members: [node(1, "cut-off"), node(2)] }), { act: "campaign" });
  });

  for (const [why, change] of [
    ["its lease isn't usable", { own: undefined }],
    ["the store has told nothing yet", { known: false }],
    ["there is no configuration yet", { mode: undefined }],
    ["it is cut off from the storage", { state: "cut-off" }],
    ["it drains", { state: "draining" }],
    ["it is only joining", { state: "joining" }],
    ["every node serves", { mode: "active-active", state: "ready" }],
    ["somebody lives who has it: no failback", { held: heldByOther, order: ["node-2", "node-1"] }],
  ] as const) {
    test(`not a node of which it holds that ${why}`, () => {
      assert.deepEqual(decideActive({ ...left, ...change }), { act: "rest" });
    });
  }
});

describe("what the active node does", () => {
  const active: ActiveSituation = { ...left, held: heldByOwn, state: "ready", members: [node(1), node(2, "ready")] };

  test("stays it, whoever is before it in the order", () => {
    assert.deepEqual(decideActive({ ...active, order: ["node-1"] }), { act: "rest" });
  });

  test("hands over at once when it drains or stops", () => {
    assert.deepEqual(decideActive({ ...active, state: "draining" }), { act: "hand-over", to: node(1) });
  });

  test("hands over when it was unwell for the set time, and somebody is well", () => {
    const unwell = { ...active, state: "cut-off", unwellMs: 9_999 } as const;
    assert.deepEqual(decideActive(unwell), { act: "rest" });
    assert.deepEqual(decideActive({ ...unwell, unwellMs: 10_000 }), { act: "hand-over", to: node(1) });
    const alone = { ...unwell, unwellMs: 99_000, members: [node(1, "cut-off"), node(2, "cut-off")] };
    assert.deepEqual(decideActive(alone), { act: "rest" });
  });

  test("gives the key up when the mode says that every node serves", () => {
    assert.deepEqual(decideActive({ ...active, mode: "active-active" }), { act: "give-up" });
  });

  test("takes its key back after a restart, unless it died young", () => {
    const again = { ...left, held: { incarnation: "dead", id: "id-2", generation: 7 } };
    assert.deepEqual(decideActive({ ...again, formerSelfMs: STABLE_MS }), { act: "campaign", over: 7 });
    assert.deepEqual(decideActive({ ...again, formerSelfMs: STABLE_MS - 1 }), { act: "rest" });
    assert.deepEqual(decideActive(again), { act: "rest" }, "whether that process is gone can't be told");
  });
});

test("the next one: by the order, then by slot, and never one that isn't well or is excepted", () => {
  const all = [node(1), node(2, "cut-off"), node(3), node(4, "ready")];
  assert.equal(nextActive(all, [], undefined)?.name, "node-1");
  assert.equal(nextActive(all, ["node-2", "node-4"], undefined)?.name, "node-4");
  assert.equal(nextActive(all, ["node-4", "node-3"], "id-4")?.name, "node-3");
  assert.equal(nextActive([node(2, "joining")], [], undefined), undefined);
});

describe("the role of a node", () => {
  const situation = { mode: "active-passive", held: undefined, own: "own", before: "passive", sinceModeMs: 0 } as const;
  test("each one", () => {
    assert.equal(roleOf({ ...situation, mode: "active-active" }), "shared");
    assert.equal(roleOf({ ...situation, mode: undefined }), "passive");
    assert.equal(roleOf(situation), "passive", "nobody is it");
    assert.equal(roleOf({ ...situation, held: { incarnation: "own" } }), "active");
    assert.equal(roleOf({ ...situation, before: "active", held: { incarnation: "other" } }), "passive");
    assert.equal(roleOf({ ...situation, own: undefined, before: "active", held: { incarnation: "own" } }), "passive");
  });
  test("a change of mode leaves no moment in which nobody serves", () => {
    assert.equal(roleOf({ ...situation, before: "shared" }), "shared");
    assert.equal(roleOf({ ...situation, before: "shared", held: { incarnation: "other" } }), "passive");
    assert.equal(roleOf({ ...situation, before: "shared", sinceModeMs: SETTLE_MS }), "passive");
  });
});
