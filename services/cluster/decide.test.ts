import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Conditions, decideState, isUp } from "./decide.js";

const up: Conditions = {
  stopping: false,
  drainWished: false,
  wasUp: true,
  onKeptConfig: false,
  leaseUsable: true,
  configLoaded: true,
  storage: { healthy: true },
  listening: true,
};

test("a node that lacks nothing is ready", () => {
  assert.deepEqual(decideState(up), { state: "ready", reasons: [] });
});

test("a node that was never up joins, and says what it waits for", () => {
  const decision = decideState({ ...up, wasUp: false, leaseUsable: false, configLoaded: false });
  assert.equal(decision.state, "joining");
  assert.deepEqual(decision.reasons, [
    "no lease: the coordination store doesn't answer",
    "the configuration isn't loaded yet",
  ]);
});

test("a node that loses the store, or the storage, is cut off", () => {
  assert.equal(decideState({ ...up, leaseUsable: false }).state, "cut-off");
  const full = decideState({ ...up, storage: { healthy: false, problem: "the storage is full" } });
  assert.deepEqual(full, { state: "cut-off", reasons: ["the storage is full"] });
});

test("a node that started without the store and serves from its disk is cut off, not joining", () => {
  const given = { ...up, wasUp: false, onKeptConfig: true, leaseUsable: false, configLoaded: false };
  assert.equal(decideState(given).state, "cut-off");
});

test("a wish to drain waits until the node is up, then holds whatever fails", () => {
  assert.equal(decideState({ ...up, wasUp: false, listening: false, drainWished: true }).state, "joining");
  assert.equal(decideState({ ...up, drainWished: true }).state, "draining");
  assert.deepEqual(decideState({ ...up, drainWished: true, leaseUsable: false }).reasons.length, 2);
});

test("a node that was told to end drains, whatever else", () => {
  assert.equal(decideState({ ...up, wasUp: false, leaseUsable: false, stopping: true }).state, "draining");
});

test("in every combination: ready means that nothing is missing and nobody objects, and only then no reason is given", () => {
  const conditions = fc.record({
    stopping: fc.boolean(),
    drainWished: fc.boolean(),
    wasUp: fc.boolean(),
    onKeptConfig: fc.boolean(),
    leaseUsable: fc.boolean(),
    configLoaded: fc.boolean(),
    storage: fc.option(fc.record({ healthy: fc.boolean() }), { nil: undefined }),
    listening: fc.boolean(),
  });
  fc.assert(
    fc.property(conditions, (given) => {
      const { state, reasons } = decideState(given);
      assert.equal(state === "ready", isUp(given) && !given.stopping && !given.drainWished);
      assert.equal(reasons.length === 0, state === "ready");
      if (given.wasUp || given.onKeptConfig) assert.notEqual(state, "joining");
      else assert.notEqual(state, "cut-off");
    }),
    { numRuns: 500 },
  );
});
