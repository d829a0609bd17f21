import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { EXIT } from "../errors.js";
import { planStoreMove } from "./store-plan.js";

const entry = (key: string, value = "{}", lease?: string): Entry =>
  ({ key, value, createRevision: 1, modRevision: 1, ...(lease === undefined ? {} : { lease }) }) as Entry;
const site = [entry(keys.site), entry(keys.account("ann"))];
const move = (change: Partial<Parameters<typeof planStoreMove>[0]> = {}) =>
  planStoreMove({ to: "cluster", source: site, target: [], replace: false, ...change });

test("a site goes to a store that is empty or not there yet, without what hangs on leases", () => {
  assert.deepEqual(move(), { kind: "go", entries: 2 });
  assert.deepEqual(move({ target: undefined }), { kind: "go", entries: 2 });
  const leased = [...site, entry("owners/x", "1", "77")];
  assert.deepEqual(move({ to: "standalone", source: leased }), { kind: "go", entries: 2 });
});

test("nothing is moved while nodes run, on either of them", () => {
  const running = entry(keys.node("n"), '{"name":"node-1"}', "77");
  for (const change of [{ target: [running] }, { source: [...site, running] }, { target: [running], replace: true }]) {
    const plan = move(change);
    assert.ok(plan.kind === "refused" && plan.exitCode === EXIT.conflict);
    assert.match(plan.why, /still run on etcd: node-1/);
  }
});

test("a source without a site, or a target with one, is refused", () => {
  for (const source of [undefined, [], [entry("ops/x")]]) {
    const plan = move({ source });
    assert.ok(plan.kind === "refused" && plan.exitCode === EXIT.notFound);
  }
  const plan = move({ target: site });
  assert.ok(plan.kind === "refused" && plan.exitCode === EXIT.conflict);
  assert.match(plan.why, /--replace/);
  assert.deepEqual(move({ target: site, replace: true }), { kind: "go", entries: 2 });
  assert.deepEqual(move({ target: [entry("asks/x", "1", "77")] }), { kind: "go", entries: 2 });
});
