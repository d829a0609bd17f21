import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { createNodeState } from "./node-state.js";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const up = {
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
  assert.deepEqual(told, ["joining", "ready", "cut-off", "ready", "draining"]);
});
