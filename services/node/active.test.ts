import assert from "node:assert/strict";
import { test } from "node:test";
import { siteSchema } from "#config/schema.js";
import type { Logger } from "#lib/logger.js";
import { createNodeActive, type NodeActiveOptions } from "./active.js";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** A node that started while the store was away: nothing of it has answered yet. */
function withKept(mode: string | undefined, cutOffMs = 0) {
  const site = mode === undefined ? undefined : siteSchema.parse({ id: crypto.randomUUID(), name: "s", mode });
  const done: string[] = [];
  const active = createNodeActive({
    config: {
      loaded: () => false,
      status: () => ({ hash: site === undefined ? "" : "x" }),
      snapshot: () => ({ site }),
    },
    identity: { id: "id", name: "node-1" },
    membership: { current: () => undefined },
    members: { list: () => [] },
    audit: { record() {} },
    metrics: { activeTaken() {} },
    onChange() {},
    state: () => "cut-off",
    cutOffMs: () => cutOffMs,
    graceMs: () => 60_000,
    logger: silent,
  } as unknown as NodeActiveOptions);
  const path = {
    sessions: 0,
    transfers: 0,
    suspended: false,
    suspend: async () => void done.push("suspended"),
    resume: () => void done.push("resumed"),
  };
  const stop = active.mind(path as unknown as Parameters<typeof active.mind>[0]);
  stop();
  return { active, done };
}

test("with the configuration that it kept, a node serves without the store in active-active", () => {
  const { active, done } = withKept("active-active");
  assert.deepEqual([active.takes(), active.serves(), active.whyPassive(), done], [true, true, undefined, []]);
  assert.equal(active.gauges(), undefined);
});

test("past the grace it doesn't", () => {
  const { active, done } = withKept("active-active", 60_001);
  assert.deepEqual([active.takes(), active.serves(), done], [false, false, ["suspended"]]);
});

test("in active-passive it waits for the store to say who is the active one", () => {
  const { active, done } = withKept("active-passive");
  assert.deepEqual([active.takes(), active.serves(), done], [false, false, ["suspended"]]);
  assert.match(active.whyPassive() ?? "", /no node is the active one yet/);
  assert.deepEqual(active.gauges(), { holds: false, generation: 0, since: undefined });
});

test("before there is any configuration it isn't this node's turn", () => {
  assert.equal(withKept(undefined).active.takes(), false);
});
