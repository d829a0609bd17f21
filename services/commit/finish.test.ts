import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Coordination, Transaction } from "#coordination/contract.js";
import type { Store } from "#storage/contract.js";
import { Finisher, type Placed } from "./finish.js";

/** A finisher whose transactions wait until they are let through. */
function finisherOf(t: TestContext) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const sent: Transaction[] = [];
  const cleaned: string[] = [];
  let letThrough: (() => void)[] = [];
  const coordination = {
    transact: (transaction: Transaction) => {
      sent.push(transaction);
      return new Promise((resolve) => letThrough.push(() => resolve({ applied: true, revision: 9 })));
    },
  } as unknown as Coordination;
  const store = { cleanUp: async (id: string) => void cleaned.push(id) } as unknown as Store;
  const finisher = new Finisher(coordination, store);
  return {
    finisher,
    cleaned,
    /** Operations in each transaction so far. */
    groups: () => sent.map(({ compare }) => compare.length),
    letThrough: async () => {
      for (const each of letThrough) each();
      letThrough = [];
      await turns();
    },
  };
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function placed(id: string): Placed {
  const actor = { account: "alice", session: "s", address: "192.0.2.1", protocol: "sftp" };
  const effect = { kind: "upload" as const, path: `alice/${id}` };
  return { id, revision: 1, record: { state: "COMMITTED", store: "main", effect, actor, node: "n", at: 0 } };
}

test("commits that follow each other closely are finished by one transaction", async (t) => {
  const { finisher, groups, letThrough, cleaned } = finisherOf(t);
  const ends = ["a", "b", "c"].map((id) => finisher.finish(placed(id)));
  await turns();
  assert.deepEqual(groups(), [], "nothing is sent while more may come");
  t.mock.timers.tick(20);
  await turns();
  assert.deepEqual(groups(), [3]);
  const late = [finisher.finish(placed("d"))];
  await letThrough();
  await Promise.all(ends);
  assert.deepEqual(cleaned, ["a", "b", "c"]);
  assert.deepEqual(groups(), [3], "what came meanwhile gathers anew");
  late.push(finisher.finish(placed("e")));
  t.mock.timers.tick(20);
  await turns();
  assert.deepEqual(groups(), [3, 2]);
  await letThrough();
  await Promise.all(late);
});

test("whoever waits for a finish hurries it, and those that come while one is under way", async (t) => {
  const { finisher, groups, letThrough } = finisherOf(t);
  const first = finisher.finish(placed("a"));
  finisher.hurry();
  await turns();
  assert.deepEqual(groups(), [1]);
  const second = finisher.finish(placed("b"));
  finisher.hurry();
  await letThrough();
  assert.deepEqual(groups(), [1, 1], "without any time passing");
  await letThrough();
  await Promise.all([first, second]);
});

test("a full group goes at once, and a stopped one sends nothing more", async (t) => {
  const { finisher, groups, letThrough } = finisherOf(t);
  const ends = Array.from({ length: 33 }, (_, index) => finisher.finish(placed(`f${index}`)));
  await turns();
  assert.deepEqual(groups(), [32]);
  await letThrough();
  await Promise.all(ends.slice(0, 32));
  finisher.stop();
  t.mock.timers.tick(1_000);
  await turns();
  assert.deepEqual(groups(), [32], "it stays in the store, for another node's recovery");
});
