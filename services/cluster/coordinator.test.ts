import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { createCoordinator, decideCoordinator, fencedTransaction, type Tenure } from "./coordinator.js";

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

test("a part of the work that fails is begun again, and the others go on meanwhile", async (t) => {
  const awake = setInterval(() => {}, 1_000);
  const directory = mkdtempSync(join(tmpdir(), "longshore-coordinator-"));
  const coordination = createEmbeddedCoordination({ directory: join(directory, "store") });
  const lease = await coordination.lease();
  const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const tries = { steady: 0, failing: 0 };
  const untilOver = ({ signal }: Tenure) => pause(60_000, signal);
  const coordinator = createCoordinator({
    coordination,
    identity: { id: "id", name: "node-1", slot: 1, labels: {}, version: "1", addresses: {} },
    membership: { current: () => ({ incarnation: own, lease, ownerRevision: 1 }) },
    ready: () => true,
    works: [
      (tenure) => {
        tries.steady += 1;
        return untilOver(tenure);
      },
      async (tenure) => {
        tries.failing += 1;
        if (tries.failing < 2) throw new Error("for once");
        await untilOver(tenure);
      },
    ],
    logger: silent,
  });
  t.after(async () => {
    await coordinator.stop();
    await coordination.close();
    clearInterval(awake);
    rmSync(directory, { recursive: true, force: true });
  });
  coordinator.start();
  for (let i = 0; i < 500 && tries.failing < 2; i += 1) await pause(20);
  assert.deepEqual(tries, { steady: 1, failing: 2 });
});
