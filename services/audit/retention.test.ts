import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { AuditEntry } from "./contract.js";
import { oldBefore, planRetention, removeSegments, retentionRecord } from "./retention.js";
import { keepAwake, NODE_ID, scratch, spoolIn } from "./testing.js";
import { verifyAudit } from "./verify.js";

keepAwake();
const OTHER = "1f8e7d6c-1111-4222-8333-444455556666";
const login: AuditEntry = { kind: "login", what: "password", outcome: "ok", who: "ann" };
const signal = new AbortController().signal;
const segments = (directory: string) => readdirSync(directory).filter((file) => file.endsWith(".jsonl"));
const soon = () => Date.now() + 60_000;

/** A site's audit directory with one chain of several segments. */
async function chainOf(site: string, id = NODE_ID, records = 12) {
  const directory = join(site, id);
  mkdirSync(directory);
  const spool = await spoolIn(directory, { segmentBytes: 600, nodeId: id });
  for (let i = 0; i < records; i += 1) await spool.recordDurably(login);
  return { directory, spool };
}

test("a clock that is years ahead makes nothing older than three days", () => {
  const day = 86_400_000;
  const now = Date.parse("2026-03-01T00:00:00Z");
  const daily = Array.from({ length: 400 }, (_, at) => now - at * day);
  assert.equal(oldBefore(365, daily, now), now - 365 * day, "a clock that is right");
  const wrong = now + 10 * 365 * day;
  assert.equal(oldBefore(365, daily, wrong), now - 362 * day);
  assert.equal(oldBefore(365, [...daily, wrong - 60_000], wrong), now - 362 * day + 60_000, "it has written since");
  assert.equal(oldBefore(365, [...daily, wrong], now), now - 365 * day, "the clock is right again");
  assert.equal(oldBefore(365, [], now), now - 365 * day);
  assert.equal(oldBefore(1, [now - 400 * day], now), now - day);
});

test("old segments go, oldest first and never the newest; the record of it lets the chain begin where it was cut", async (t) => {
  const site = scratch(t);
  const { directory, spool } = await chainOf(site);
  const before = segments(directory).length;
  assert.ok(before > 3);
  assert.equal(await planRetention(site, Date.now() - 60_000, signal), undefined, "nothing is old enough");
  const plan = await planRetention(site, soon(), signal);
  assert.equal(plan?.segments.length, before - 1);
  await spool.recordDurably(retentionRecord(plan, "alpha", 7));
  assert.ok((await verifyAudit(site)).whole, "recorded, and not removed yet");
  await removeSegments(site, { ...plan, segments: plan.segments.slice(0, 2) });
  assert.ok((await verifyAudit(site)).whole, "a removal that was broken off");
  await removeSegments(site, plan);
  const report = await verifyAudit(site);
  assert.ok(report.whole, JSON.stringify(report));
  assert.equal(report.chains[0]?.shortened, true);
  await spool.close();
});

test("one chain's record answers for all, again and again, though the older records go, too", async (t) => {
  const site = scratch(t);
  const { spool } = await chainOf(site);
  const dead = await chainOf(site, OTHER);
  await dead.spool.close();
  for (let round = 0; round < 3; round += 1) {
    const plan = await planRetention(site, soon(), signal);
    assert.ok(plan);
    await spool.recordDurably(retentionRecord(plan, "alpha", 7));
    await removeSegments(site, plan);
    for (let i = 0; i < 6; i += 1) await spool.recordDurably(login);
    const report = await verifyAudit(site);
    assert.ok(report.whole, `round ${round}: ${JSON.stringify(report.chains)}`);
    assert.deepEqual(
      report.chains.map(({ shortened }) => shortened),
      [true, true],
    );
  }
  await spool.close();
});

test("segments that vanish without a record, and damaged ones, aren't taken for retention's", async (t) => {
  const site = scratch(t);
  const { directory, spool } = await chainOf(site);
  await spool.close();
  const [first = "", second = ""] = segments(directory);
  const text = readFileSync(join(directory, second), "utf8");
  writeFileSync(join(directory, second), text.replace("ann", "eve"));
  const plan = await planRetention(site, soon(), signal);
  assert.deepEqual(
    plan?.segments.map(({ file }) => file),
    [first],
    "what is damaged, and what follows it, stays",
  );
  writeFileSync(join(directory, second), text);
  renameSync(join(directory, first), join(site, "taken"));
  const report = await verifyAudit(site);
  assert.equal(report.chains[0]?.fault?.fault, "no-beginning");
  assert.ok((await verifyAudit(site, { archived: true })).whole);
});

test("a segment whose file looks old and whose records aren't stays", async (t) => {
  const site = scratch(t);
  const { directory, spool } = await chainOf(site);
  for (const file of segments(directory)) utimesSync(join(directory, file), 1, 1);
  assert.equal(await planRetention(site, Date.now() - 60_000, signal), undefined);
  await spool.close();
});

test("the store's anchor shows newest lines that were cut off, a chain written anew, and one that is gone", async (t) => {
  const [site, forged] = [scratch(t), scratch(t)];
  const { directory, spool } = await chainOf(site);
  const anchor = { node: "alpha", at: new Date().toISOString(), ...spool.position() };
  const anchors = new Map([[NODE_ID, anchor]]);
  assert.ok((await verifyAudit(site, { anchors })).whole);
  await spool.recordDurably(login);
  assert.ok((await verifyAudit(site, { anchors })).whole, "a chain may go on");
  assert.ok((await verifyAudit(directory, { anchors })).whole, "the chain's own directory, too");
  anchors.set(NODE_ID, { ...anchor, ...spool.position() });
  await spool.close();

  const newest = join(directory, segments(directory).at(-1) as string);
  const whole = readFileSync(newest, "utf8");
  const lines = whole.split("\n");
  writeFileSync(newest, `${lines.slice(0, 1).join("\n")}\n`);
  const cut = await verifyAudit(site, { anchors });
  assert.equal(cut.chains[0]?.fault?.fault, "newest-missing");
  assert.ok((await verifyAudit(site)).whole, "without the anchor it can't be seen");
  writeFileSync(newest, whole);

  const anew = await chainOf(forged, NODE_ID, 20);
  await anew.spool.close();
  const fault = (await verifyAudit(forged, { anchors })).chains[0]?.fault;
  assert.equal(fault?.fault, "not-anchored");
  const gone = await verifyAudit(site, { anchors: new Map([...anchors, [OTHER, anchor]]) });
  assert.deepEqual([gone.whole, gone.chains[1]?.fault?.fault], [false, "newest-missing"]);
});
