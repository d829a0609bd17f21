import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { createNodeState } from "./node-state.js";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const up = {
  onKeptConfig: false,
  drainWished: false,
  leaseUsable: true,
  configLoaded: true,
  storage: { healthy: true } as const,
  listening: true,
};

test("a node joins, is ready, loses the store, comes back and stops: each is told once", () => {
  let conditions = { ...up, leaseUsable: false };
  const told: string[] = [];
  const state = createNodeState({
    conditions: () => conditions,
    sinceContactMs: () => 0,
    onChange: (to) => told.push(to.state),
    logger: silent,
  });
  state.check();
  state.check();
  assert.equal(state.cutOffMs(), 0);
  conditions = up;
  state.check();
  conditions = { ...up, leaseUsable: false };
  assert.equal(state.now().state, "cut-off");
  state.check();
  assert.ok(state.cutOffMs() >= 0);
  conditions = up;
  state.check();
  assert.equal(state.cutOffMs(), 0);
  state.stopping();
  state.stop();
  conditions = { ...up, leaseUsable: false };
  state.check();
  assert.deepEqual(told, ["joining", "ready", "cut-off", "ready", "draining"]);
});

test("a node that started without the store counts from the last contact before its start, until the store is back", () => {
  let conditions = { ...up, onKeptConfig: true, leaseUsable: false, configLoaded: false };
  const state = createNodeState({
    conditions: () => conditions,
    sinceContactMs: () => 12_345,
    onChange() {},
    logger: silent,
  });
  state.check();
  assert.equal(state.now().state, "cut-off");
  assert.equal(state.cutOffMs(), 12_345);
  conditions = { ...conditions, leaseUsable: true };
  assert.equal(state.cutOffMs(), 12_345, "the lease alone doesn't tell which accounts are enabled");
  conditions = { ...conditions, configLoaded: true };
  state.check();
  assert.equal(state.cutOffMs(), 0);
  conditions = { ...conditions, leaseUsable: false };
  state.check();
  assert.ok(state.cutOffMs() < 12_345, "from now on it counts from the loss of its own lease");
  state.stop();
});
