import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { createWorld, intent, write } from "./fixture.js";

keepAwake();

test("a change right behind an upload of that name meets no claim: no transaction is in vain", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const transact = world.coordination.transact.bind(world.coordination);
  let vain = 0;
  world.coordination.transact = async (transaction, options) => {
    const result = await transact(transaction, options);
    if (!result.applied) vain += 1;
    return result;
  };
  await alice.makeDirectory("/in", {});
  for (const round of ["one", "two"]) {
    const handle = await alice.open("/in/f.part", intent.put);
    await write(handle, 0, round);
    await handle.close();
    await alice.rename("/in/f.part", "/in/f", true);
    assert.equal(await readFile(join(world.root, "alice/in/f"), "utf8"), round);
  }
  await alice.remove("/in/f");
  await alice.removeDirectory("/in");
  assert.equal(vain, 0);
});

test("another node that meets a claim not finished yet finishes it itself", async () => {
  const world = await createWorld();
  const [one, two] = [await world.node(), await world.node()];
  const transact = world.coordination.transact.bind(world.coordination);
  const handle = await one.session().open("/f", intent.put);
  await write(handle, 0, "whole");
  // its own finish never gets through
  let held = 0;
  world.coordination.transact = (transaction, options) => {
    const isFinish = transaction.apply.some((each) => "delete" in each && each.delete.startsWith(keys.opPrefix));
    if (!isFinish || held > 0) return transact(transaction, options);
    held += 1;
    return new Promise(() => {});
  };
  await handle.close();
  // Else the other node's finish may come first, and be the one that is held.
  await until("its own finish was tried", () => held === 1, { deadlineMs: 10_000 });
  await two.session().rename("/f", "/g", false);
  assert.equal(await readFile(join(world.root, "alice/g"), "utf8"), "whole");
});

test("without the store, a change right behind an upload of that name ends with an error, not never", async () => {
  const world = await createWorld();
  const alice = (await world.node()).session();
  const transact = world.coordination.transact.bind(world.coordination);
  const handle = await alice.open("/f", intent.put);
  await write(handle, 0, "whole");
  // The commit gets through and its finish doesn't: from then on there is no store.
  let gone = false;
  world.coordination.transact = (transaction, options) => {
    gone ||= transaction.apply.some((each) => "delete" in each && each.delete.startsWith(keys.opPrefix));
    if (gone) return Promise.reject(new StoreUnavailableError("no store in this test"));
    return transact(transaction, options);
  };
  await handle.close();
  await assert.rejects(alice.rename("/f", "/g", false), { code: "unavailable" });
  assert.equal(await readFile(join(world.root, "alice/f"), "utf8"), "whole");
  world.coordination.transact = transact;
  await until("with the store back it can be done", () => alice.rename("/f", "/g", false).then(() => true), {
    deadlineMs: 10_000,
  });
});
