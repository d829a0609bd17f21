import assert from "node:assert/strict";
import { test } from "node:test";
import { clockAgrees } from "./clocks.js";

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const members = (...offsets: number[]) => offsets.map((offset, i) => ({ id: `n${i}`, at: NOW + offset }));

test("of three nodes the one with the wrong clock is told, and no other", () => {
  const seen = members(0, HOUR, -500);
  assert.equal(clockAgrees(seen, "n0", NOW), true);
  assert.equal(clockAgrees(seen, "n2", NOW - 500), true);
  assert.equal(clockAgrees(seen, "n1", NOW + HOUR), false);
});

test("of five nodes two wrong ones don't make a third doubt itself", () => {
  const seen = members(0, HOUR, HOUR, 0, 0);
  assert.equal(clockAgrees(seen, "n0", NOW), true);
  assert.equal(clockAgrees(seen, "n1", NOW + HOUR), false);
});

test("one or two nodes can't tell who is wrong", () => {
  assert.equal(clockAgrees([], "n0", NOW), true);
  assert.equal(clockAgrees(members(0, HOUR), "n0", NOW), true);
});
