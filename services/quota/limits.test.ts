import assert from "node:assert/strict";
import { test } from "node:test";
import { holdsPlace, limitsOf, meteredPlaces, placesAbove } from "./limits.js";

const folder = (path: string, target: string, quotaBytes?: number) =>
  quotaBytes === undefined ? { path, target } : { path, target, quotaBytes };

test("places are those that any folder gives a quota, with the smallest one", () => {
  const accounts = new Map([
    ["ann", { folders: [folder("/in", "a/in", 10), folder("/free", "free")] }],
    ["bob", { folders: [folder("/x", "a/in", 5)] }],
  ]);
  const groups = new Map([["all", { folders: [folder("/pool", "a", 100)] }]]);
  assert.deepEqual(
    [...meteredPlaces({ accounts, groups })],
    [
      ["a", 100],
      ["a/in", 5],
    ],
  );
});

test("a file counts in every place that it lies below, by whole parts of its path", () => {
  const places = new Map([
    ["a", 1],
    ["a/in", 1],
    ["a/inner", 1],
  ]);
  assert.deepEqual(placesAbove(places, "a/in/x"), ["a", "a/in"]);
  assert.deepEqual(placesAbove(places, "a/in"), ["a"]);
  assert.deepEqual(placesAbove(places, "ab/x"), []);
  assert.deepEqual(holdsPlace(places, "a"), ["a", "a/in", "a/inner"]);
  assert.deepEqual(holdsPlace(places, "a/in"), ["a/in"]);
});

test("an account is bound by its own folders' quotas, the smaller one where two lead to one place", () => {
  const ann = { folders: [folder("/in", "a/in", 10), folder("/pool", "a", 100), folder("/also", "a/in", 7)] };
  assert.deepEqual(limitsOf(ann, "a/in/x"), [
    { target: "a/in", bytes: 7, folder: "/also" },
    { target: "a", bytes: 100, folder: "/pool" },
  ]);
  assert.deepEqual(limitsOf(ann, "b/x"), []);
});
