import assert from "node:assert/strict";
import { test } from "node:test";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { Counters } from "./counters.js";
import type { Intent } from "./plan.js";

const key = keys.usage("main", "in");
const intent: Intent = {
  id: "1",
  store: "main",
  effect: { kind: "remove", path: "in/a" },
  record: "{}",
  usage: [{ target: "in", added: 5, removed: 0, limit: { bytes: 1, folder: "/in" } }],
};

test("a damaged counter refuses no commit, and stays as it is until it is counted anew", async () => {
  const entry = { key, value: "{", createRevision: 3, modRevision: 7 };
  const counters = new Counters({ get: async () => entry } as unknown as Coordination);
  const first = await counters.plan([intent]);
  assert.deepEqual(first.compare, [{ key, is: "absent" }]);
  counters.refused(first, [[entry]]);
  const second = await counters.plan([intent]);
  assert.deepEqual(second.sent, [intent]);
  assert.deepEqual(second.compare, [{ key, is: "modified-at", revision: 7 }]);
  assert.deepEqual(second.apply, []);
  counters.applied(second, 8);
  // made anew meanwhile: from now on the limit holds again
  counters.refused(await counters.plan([intent]), [
    [{ ...entry, value: '{"bytes":0,"added":0,"removed":0,"moves":0,"counts":0}', modRevision: 9 }],
  ]);
  assert.equal((await counters.plan([{ ...intent, usage: [{ target: "in", added: 1, removed: 0 }] }])).apply.length, 1);
});
