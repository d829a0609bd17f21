import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeUsage } from "./activity.js";
import type { Usage } from "./plan.js";

const HOUR_MS = 3_600_000;
const NOW = 1_800_000_000_000;
const none = new Map<string, never>();
const enabled = new Map([["ann", true]]);
const usage = (more: Usage) => new Map([["ann", more]]);

test("an account that is new counts from now, and from its logins after that", () => {
  const first = mergeUsage(none, none, enabled, NOW);
  assert.deepEqual(first.usage.get("ann"), { since: NOW });
  assert.deepEqual(first.operations, [{ put: "life/ann", value: JSON.stringify({ since: NOW }) }]);
  const login = mergeUsage(first.usage, new Map([["ann", NOW + HOUR_MS]]), enabled, NOW + 2 * HOUR_MS);
  assert.deepEqual(login.usage.get("ann"), { since: NOW, lastLogin: NOW + HOUR_MS });
  assert.equal(login.operations.length, 1);
});

test("logins of the same hour cost no write, but count", () => {
  const before = usage({ since: 1, lastLogin: NOW - 1_000 });
  const { usage: after, operations } = mergeUsage(before, new Map([["ann", NOW]]), enabled, NOW);
  assert.equal(after.get("ann")?.lastLogin, NOW);
  assert.deepEqual(operations, []);
});

test("a node whose clock is ahead doesn't make an account used for ever", () => {
  const { usage: after } = mergeUsage(none, new Map([["ann", NOW * 2]]), enabled, NOW);
  assert.equal(after.get("ann")?.lastLogin, NOW);
});

test("one that an administrator enables again counts from then, or it would be disabled at once", () => {
  const disabled = mergeUsage(usage({ since: 1, lastLogin: 2 }), none, new Map([["ann", false]]), NOW);
  assert.deepEqual(disabled.usage.get("ann"), { since: 1, lastLogin: 2, disabled: true });
  const again = mergeUsage(disabled.usage, none, enabled, NOW + 5);
  assert.deepEqual(again.usage.get("ann"), { since: NOW + 5, lastLogin: 2 });
  assert.equal(again.operations.length, 1);
});

test("what is known of an account goes with it", () => {
  assert.deepEqual(mergeUsage(usage({ since: 1 }), none, none, NOW).operations, [{ delete: "life/ann" }]);
});
