import assert from "node:assert/strict";
import { test } from "node:test";
import { clockAgrees, clockCorrectionMs, clocksOff } from "./clocks.js";

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

const wall = (...at: number[]) => at.map((each, index) => ({ id: `n${index}`, at: each }));

test("clocks that agree to the age of a heartbeat need no correction", () => {
  assert.equal(clockCorrectionMs(wall(NOW, NOW + 900, NOW - 1_400), "n0"), 0);
  assert.equal(clockCorrectionMs(wall(NOW), "n0"), 0);
  assert.equal(clockCorrectionMs([], "n0"), 0);
});

test("a node whose clock is an hour off goes by the others; they don't go by it", () => {
  const off = wall(NOW + HOUR, NOW, NOW + 500);
  assert.equal(clockCorrectionMs(off, "n0"), 500 - HOUR);
  assert.equal(clockCorrectionMs(off, "n1"), 0);
  assert.equal(clockCorrectionMs(off, "n2"), 0);
});

test("two nodes that disagree meet in the middle", () => {
  const two = wall(NOW, NOW + HOUR);
  assert.equal(NOW + clockCorrectionMs(two, "n0"), NOW + HOUR + clockCorrectionMs(two, "n1"));
});

test("the node that is off is named with how far and which way, and no other", () => {
  const named = (...at: number[]) => wall(...at).map((each) => ({ ...each, name: each.id }));
  assert.deepEqual(clocksOff(named(NOW, NOW - HOUR, NOW + 900)), [{ name: "n1", offsetMs: -HOUR }]);
  assert.deepEqual(clocksOff(named(NOW, NOW + 4_000, NOW)), []);
  assert.deepEqual(clocksOff(named(NOW)), []);
});
