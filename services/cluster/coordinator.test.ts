import assert from "node:assert/strict";
import { test } from "node:test";
import { decideCoordinator, fencedTransaction } from "./coordinator.js";

const own = "own.1";

test("an empty chair is taken only by a ready node with a usable lease", () => {
  assert.equal(decideCoordinator({ held: undefined, own, ready: true }), "campaign");
  assert.equal(decideCoordinator({ held: undefined, own, ready: false }), "rest");
  assert.equal(decideCoordinator({ held: undefined, own: undefined, ready: true }), "rest");
});

test("the holder works while it is ready, and resigns as soon as it isn't", () => {
  const held = { incarnation: own };
  assert.equal(decideCoordinator({ held, own, ready: true }), "work");
  assert.equal(decideCoordinator({ held, own, ready: false }), "resign");
  assert.equal(decideCoordinator({ held, own: undefined, ready: true }), "rest");
});

test("a former incarnation's key is another's: nobody works under it", () => {
  assert.equal(decideCoordinator({ held: { incarnation: "own.0" }, own, ready: true }), "rest");
});

test("the fence comes last, so that what the caller's compares met stays in its place", () => {
  const transaction = { compare: [{ key: "a", is: "absent" as const }], apply: [{ delete: "a" }] };
  assert.deepEqual(fencedTransaction(7, transaction), {
    compare: [...transaction.compare, { key: "coordinator", is: "created-at", revision: 7 }],
    apply: transaction.apply,
  });
});
