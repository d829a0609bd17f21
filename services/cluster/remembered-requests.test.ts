import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { isCode } from "#lib/errors.js";
import { createRememberedRequests } from "./remembered-requests.js";

const DAY_MS = 24 * 3_600_000;

function bench(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), "longshore-remembered-"));
  const coordination = createEmbeddedCoordination({ directory: join(directory, "store") });
  t.after(async () => {
    await coordination.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const at = (now: number) => createRememberedRequests({ coordination, now: () => now });
  const stored = async () => (await coordination.list(keys.idempotencyPrefix)).entries;
  return { coordination, at, stored };
}

test("a request is new once, under way until it is done, and done from then on, for every node", async (t) => {
  const { at } = bench(t);
  const [one, other] = [at(0), at(0)];
  const first = await one.begin("id", "request");
  assert.ok(first.kind === "new");
  assert.equal((await other.begin("id", "request")).kind, "under-way");
  assert.equal((await other.begin("id", "another")).kind, "other-request");
  const answer = { status: 201, etag: '"5"', body: "{}" };
  await first.finish(answer);
  assert.deepEqual(await other.begin("id", "request"), { kind: "done", answer });
  assert.equal((await other.begin("id", "another")).kind, "other-request");
});

test("what wasn't done is forgotten, and leaves nothing behind", async (t) => {
  const { at, stored } = bench(t);
  const first = await at(0).begin("id", "request");
  assert.ok(first.kind === "new");
  await first.finish(undefined);
  assert.deepEqual(await stored(), []);
  assert.equal((await at(0).begin("id", "another")).kind, "new");
});

test("what is done outlives its lease, and ends after a day", async (t) => {
  const { at, stored } = bench(t);
  const first = await at(0).begin("id", "request");
  assert.ok(first.kind === "new");
  await first.finish({ status: 200 });
  const [entry] = await stored();
  assert.equal(entry?.lease, undefined);
  assert.equal((await at(DAY_MS).begin("id", "request")).kind, "done");
  assert.equal((await at(DAY_MS + 1).begin("id", "request")).kind, "new");
});

test("there are never more than 5,000; those that are over make room", async (t) => {
  const { coordination, at, stored } = bench(t);
  const done = (doneAt: number) => JSON.stringify({ request: "x", doneAt, answer: { status: 200 } });
  for (let from = 0; from < 5_000; from += 1_000) {
    const apply = Array.from({ length: 1_000 }, (_, index) => ({
      put: keys.idempotency(`${from + index}`),
      value: done(from === 0 ? 0 : DAY_MS),
    }));
    await coordination.transact({ compare: [], apply });
  }
  await assert.rejects(at(1_000).begin("id", "request"), (error) => isCode(error, "busy"));
  const later = await at(DAY_MS + 1).begin("id", "request");
  assert.ok(later.kind === "new");
  await later.finish(undefined);
  assert.equal((await stored()).length, 4_000);
});

test("where nothing can be remembered nothing is begun", async (t) => {
  const { coordination, at } = bench(t);
  const one = at(0);
  await one.begin("id", "request");
  await coordination.close();
  await assert.rejects(one.begin("other", "request"), (error) => error instanceof StoreUnavailableError);
});
