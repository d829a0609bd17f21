import assert from "node:assert/strict";
import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { AuditEntry } from "./contract.js";
import { keepAwake, scratch, spoolIn } from "./testing.js";
import { verifyAudit } from "./verify.js";

keepAwake();
const login: AuditEntry = { kind: "login", what: "password", outcome: "ok", who: "ann" };
const segmentsIn = (directory: string) =>
  readdirSync(directory)
    .filter((file) => file.endsWith(".jsonl"))
    .sort();

test("the chain goes on over restarts: the new life names where the last one ended", async (t) => {
  const directory = scratch(t);
  const first = await spoolIn(directory);
  await first.recordDurably(login);
  await first.close();
  const second = await spoolIn(directory);
  await second.recordDurably(login);
  await second.close();
  const { chains, whole } = await verifyAudit(directory);
  assert.ok(whole);
  assert.deepEqual([chains[0]?.segments, chains[0]?.records, chains[0]?.node], [2, 4, "alpha"]);
  const [a = "", b = ""] = segmentsIn(directory);
  const begin = JSON.parse(readFileSync(join(directory, b), "utf8").split("\n")[0] ?? "");
  assert.equal(begin.kind, "segment");
  assert.equal(begin.details.previous.segment, a);
  assert.equal(begin.prev, first.position().hash);
});

test("an append that was cut short at any byte is cut off, and the chain goes on", async (t) => {
  const directory = scratch(t);
  const spool = await spoolIn(directory);
  await spool.recordDurably(login);
  await spool.recordDurably({ ...login, who: "bob" });
  await spool.close();
  const [file = ""] = segmentsIn(directory);
  const path = join(directory, file);
  const full = readFileSync(path);
  for (let cut = full.length - 1; cut > 0; cut -= 37) {
    writeFileSync(path, full.subarray(0, cut));
    const next = await spoolIn(directory);
    await next.recordDurably(login);
    await next.close();
    const { chains, whole } = await verifyAudit(directory);
    assert.ok(whole, `cut at ${cut}: ${JSON.stringify(chains)}`);
    for (const each of segmentsIn(directory)) if (each !== file) truncateSync(join(directory, each), 0);
  }
});

test("damage in the middle of the last segment is kept and counted, never cut away", async (t) => {
  const directory = scratch(t);
  const spool = await spoolIn(directory);
  for (let i = 0; i < 5; i += 1) await spool.recordDurably(login);
  await spool.close();
  const path = join(directory, segmentsIn(directory)[0] ?? "");
  const content = readFileSync(path);
  content[content.indexOf("ann")] = 0x41;
  writeFileSync(path, content);
  const next = await spoolIn(directory);
  assert.equal(next.chainErrors, 1);
  assert.equal(statSync(path).size, content.length);
  await next.recordDurably(login);
  await next.close();
  const { chains, whole } = await verifyAudit(directory);
  assert.equal(whole, false);
  assert.deepEqual([chains[0]?.fault?.line, chains[0]?.fault?.fault], [2, "changed"]);
});

test("segments end by size and by age; the chain runs through them", async (t) => {
  const directory = scratch(t);
  const spool = await spoolIn(directory, { segmentBytes: 1_000 });
  for (let i = 0; i < 10; i += 1) await spool.recordDurably(login);
  await spool.close();
  assert.ok(segmentsIn(directory).length > 2);
  const aged = await spoolIn(directory, { segmentMs: 0 });
  const before = segmentsIn(directory).length;
  await aged.recordDurably(login);
  await aged.close();
  assert.equal(segmentsIn(directory).length, before + 1);
  assert.ok((await verifyAudit(directory)).whole);
});

test("records of one moment share one fsync", async (t) => {
  let syncs = 0;
  const sync = async () => {
    syncs += 1;
  };
  const spool = await spoolIn(scratch(t), { sync });
  syncs = 0;
  await Promise.all(Array.from({ length: 200 }, () => spool.recordDurably(login)));
  await spool.close();
  assert.equal(syncs, 1);
});

test("after a failed fsync nothing counts as recorded, and another segment goes on", async (t) => {
  const directory = scratch(t);
  let fail = false;
  const spool = await spoolIn(directory, {
    sync: async (file) => {
      if (fail) throw new Error("EIO");
      await file.datasync();
    },
  });
  await spool.recordDurably(login);
  fail = true;
  await assert.rejects(spool.recordDurably(login, 50), { code: "unavailable" });
  assert.match(spool.problem() ?? "", /EIO/);
  fail = false;
  await spool.recordDurably({ ...login, who: "bob" });
  assert.equal(spool.problem(), undefined);
  await spool.close();
  const { chains, whole } = await verifyAudit(directory);
  assert.ok(whole, JSON.stringify(chains));
  assert.equal(chains[0]?.segments, 2);
});

test("a spool that is full refuses, says so, and puts what was lost on the record when there is room", async (t) => {
  const directory = scratch(t);
  const spool = await spoolIn(directory, { segmentBytes: 500, mostBytes: 1_500, mostWaiting: 3 });
  for (let i = 0; spool.problem() === undefined && i < 50; i += 1)
    await spool.recordDurably(login, 100).catch(() => {});
  assert.match(spool.problem() ?? "", /aren't on the shared storage yet/);
  for (let i = 0; i < 10; i += 1) spool.record(login);
  assert.ok(spool.dropped >= 7);
  const files = segmentsIn(directory);
  for (const file of files.slice(0, -1)) await spool.remove(file);
  await spool.close();
  const text = segmentsIn(directory)
    .map((file) => readFileSync(join(directory, file), "utf8"))
    .join("");
  assert.match(text, /"kind":"gap".*"records":\d+/);
  const { chains } = await verifyAudit(directory, { archived: true });
  assert.equal(chains[0]?.fault, undefined);
  assert.ok((chains[0]?.lost ?? 0) >= 7);
});

test("verify names what is wrong: missing first segments, a missing middle one, a foreign line", async (t) => {
  const directory = scratch(t);
  const spool = await spoolIn(directory, { segmentBytes: 500 });
  for (let i = 0; i < 6; i += 1) await spool.recordDurably(login);
  await spool.close();
  const files = segmentsIn(directory);
  const without = async (gone: number, options = {}) => {
    const copy = scratch(t);
    for (const [i, file] of files.entries()) {
      if (i !== gone) writeFileSync(join(copy, file), readFileSync(join(directory, file)));
    }
    return (await verifyAudit(copy, options)).chains[0]?.fault?.fault;
  };
  assert.equal(await without(-1), undefined);
  assert.equal(await without(0), "no-beginning");
  assert.equal(await without(0, { archived: true }), undefined);
  assert.equal(await without(1), "out-of-sequence");
  appendFileSync(join(directory, files.at(-1) ?? ""), "{}\n");
  assert.equal((await verifyAudit(directory)).chains[0]?.fault?.fault, "not-a-record");
});

test("a change that is on the record of two nodes is told as a repeat, and is no fault", async (t) => {
  const site = scratch(t);
  const upload = { kind: "transfer", what: "upload", outcome: "complete", path: "/in/x", transfer: "s-1" } as const;
  for (const id of ["0f8e7d6c-1111-4222-8333-444455556666", "0f8e7d6c-1111-4222-8333-444455557777"]) {
    const spool = await spoolIn(join(site, id));
    await spool.recordDurably({ ...upload, op: "inc-1" });
    await spool.recordDurably({ ...upload, op: `${id}-2`, transfer: "s-1" });
    await spool.close();
  }
  const { repeats, whole } = await verifyAudit(site);
  assert.deepEqual(repeats, [{ op: "inc-1", transfer: "s-1", path: "/in/x" }]);
  assert.ok(whole);
});

test("records that nobody waits for share a sync; one that is waited for takes them along at once", async (t) => {
  const directory = scratch(t);
  let syncs = 0;
  const spool = await spoolIn(directory, {
    sync: async (file) => {
      syncs += 1;
      await file.datasync();
    },
  });
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const turns = async () => {
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  };
  const begun = syncs;
  for (const who of ["a", "b", "c"]) {
    spool.record({ ...login, who });
    await turns();
  }
  assert.equal(syncs, begun, "more may come");
  const durable = new Promise<void>((resolve) => spool.onDurable(resolve));
  t.mock.timers.tick(20);
  await durable;
  assert.equal(syncs, begun + 1);
  spool.record({ ...login, who: "d" });
  await turns();
  await spool.recordDurably({ ...login, who: "e" });
  assert.equal(syncs, begun + 2);
  spool.record({ ...login, who: "f" });
  await spool.close();
  assert.equal(spool.records, 7, "the close writes what was gathered");
});
