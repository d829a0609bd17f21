import assert from "node:assert/strict";
import { test } from "node:test";
import { clockCorrectionMs } from "./site-clock.js";

const NOW = 1_700_000_000_000;
const HOUR = 3_600_000;
const members = (...at: number[]) => at.map((each, index) => ({ id: `n${index}`, at: each }));

test("clocks that agree to the age of a heartbeat need no correction", () => {
  assert.equal(clockCorrectionMs(members(NOW, NOW + 900, NOW - 1_400), "n0"), 0);
  assert.equal(clockCorrectionMs(members(NOW), "n0"), 0);
  assert.equal(clockCorrectionMs([], "n0"), 0);
});

test("a node whose clock is an hour off goes by the others; they don't go by it", () => {
  const off = members(NOW + HOUR, NOW, NOW + 500);
  assert.equal(clockCorrectionMs(off, "n0"), 500 - HOUR);
  assert.equal(clockCorrectionMs(off, "n1"), 0);
  assert.equal(clockCorrectionMs(off, "n2"), 0);
});

test("two nodes that disagree meet in the middle", () => {
  const two = members(NOW, NOW + HOUR);
  assert.equal(NOW + clockCorrectionMs(two, "n0"), NOW + HOUR + clockCorrectionMs(two, "n1"));
});
