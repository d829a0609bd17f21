import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import { keepAwake } from "../cluster/fixture.js";
import { createWorld, intent, write } from "./fixture.js";

keepAwake();

/** alice may list and write in /in, and nothing else. */
function configOf(siteId: string): ConfigView {
  const permissions = [
    { path: "/", allow: ["list"] },
    { path: "/in", allow: ["list", "write"] },
  ];
  const accounts = new Map([["alice", accountSchema.parse({ name: "alice", permissions })]]);
  const site = siteSchema.parse({ id: siteId, name: "test" });
  const snapshot: Snapshot = { revision: 1, hash: "", ...noEntries(), site, accounts, hostKeys: [] };
  return { snapshot: () => snapshot, onChange: () => () => {} };
}

test("what an account may not is told, with who and what; a file that isn't there is nobody's attempt", async () => {
  const world = await createWorld(true, configOf);
  const node = await world.node();
  await node.store.ensureHome("alice/in");
  const alice = node.session();
  const denied = { code: "permission-denied" };
  await assert.rejects(alice.open("/secret", intent.put), denied);
  await assert.rejects(alice.remove("/in/x"), { code: "not-found" });
  const handle = await alice.open("/in/x", intent.put);
  await write(handle, 0, "x");
  await handle.close();
  await assert.rejects(alice.remove("/in/x"), denied);
  await assert.rejects(alice.rename("/in/x", "/y", false), denied);
  await assert.rejects(alice.makeDirectory("/in/sub", {}), denied);
  await assert.rejects(async () => alice.open("/in/nul\0", intent.read), { code: "invalid-argument" });
  assert.deepEqual(
    node.refused.map(({ operation, code, actor }) => [operation, code, actor.path, actor.target]),
    [
      ["open", "permission-denied", "/secret", undefined],
      ["delete", "permission-denied", "/in/x", undefined],
      ["rename", "permission-denied", "/in/x", "/y"],
      ["mkdir", "permission-denied", "/in/sub", undefined],
      ["open", "invalid-argument", "/in/nul\0", undefined],
    ],
  );
  const [first] = node.refused;
  assert.deepEqual(
    [first?.actor.account, first?.actor.address, first?.actor.session],
    ["alice", "192.0.2.1", alice.id],
  );
});
