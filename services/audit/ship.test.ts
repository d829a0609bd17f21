import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pause } from "#lib/clock.js";
import type { AuditEntry } from "./contract.js";
import { createShipper, SHIP_STEPS, type ShipStep } from "./ship.js";
import type { Spool } from "./spool.js";
import { keepAwake, NODE_ID, scratch, silent, spoolIn } from "./testing.js";
import { verifyAudit } from "./verify.js";

keepAwake();
const login: AuditEntry = { kind: "login", what: "password", outcome: "ok", who: "ann" };
const namesIn = (directory: string) =>
  readdirSync(directory)
    .filter((file) => file.includes(".jsonl"))
    .sort();
const shipperOf = (spool: Spool, directory: string, target: string, step?: (name: ShipStep) => void) =>
  createShipper({ spool, directory, target: () => target, logger: silent, gatherMs: 1, ...(step && { step }) });

test("what is durable reaches the storage; closed segments leave this disk", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  const target = join(site, NODE_ID);
  const spool = await spoolIn(local, { segmentBytes: 600 });
  const shipper = shipperOf(spool, local, target);
  for (let i = 0; i < 8; i += 1) await spool.recordDurably(login);
  assert.ok(shipper.unshippedBytes() > 0);
  await shipper.stop();
  assert.equal(shipper.unshippedBytes(), 0);
  assert.equal(namesIn(local).length, 1);
  const { chains, whole } = await verifyAudit(site);
  assert.ok(whole);
  assert.equal(chains[0]?.to?.seq, spool.position().seq);
  await spool.close();
});

for (const step of SHIP_STEPS) {
  for (const nth of [1, 2]) {
    test(`a crash behind "${step}" (time ${nth}) leaves neither a gap nor a double`, async (t) => {
      const [local, site] = [scratch(t), scratch(t)];
      const target = join(site, NODE_ID);
      const spool = await spoolIn(local, { segmentBytes: 600 });
      let passed = 0;
      const crashing = shipperOf(spool, local, target, (name) => {
        if (name !== step) return;
        passed += 1;
        if (passed >= nth) throw new Error("a crash");
      });
      for (let i = 0; i < 5; i += 1) await spool.recordDurably(login);
      await crashing.stop();
      assert.ok(passed >= nth);
      await spool.close();
      const next = await spoolIn(local, { segmentBytes: 600 });
      await next.recordDurably(login);
      await shipperOf(next, local, target).stop();
      const { chains, whole } = await verifyAudit(site);
      assert.ok(whole, JSON.stringify(chains));
      assert.equal(chains[0]?.to?.seq, next.position().seq);
      await next.close();
    });
  }
}

test("a round that failed in the middle is gone on with by the same process", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  const target = join(site, NODE_ID);
  const spool = await spoolIn(local);
  let failures = 0;
  const shipper = shipperOf(spool, local, target, (name) => {
    if (name === "written" && failures-- > 0) throw new Error("ENOSPC");
  });
  shipper.start();
  await spool.recordDurably(login);
  for (let i = 0; shipper.unshippedBytes() > 0 && i < 300; i += 1) await pause(20);
  failures = 2;
  await spool.recordDurably(login);
  for (let i = 0; shipper.unshippedBytes() > 0 && i < 300; i += 1) await pause(20);
  await spool.recordDurably(login);
  await shipper.stop();
  assert.ok(failures < 0);
  assert.equal(shipper.unshippedBytes(), 0);
  assert.ok((await verifyAudit(site)).whole);
  await spool.close();
});

test("garbage that a crash of the storage left behind the synced part is replaced", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  const target = join(site, NODE_ID);
  const spool = await spoolIn(local);
  await spool.recordDurably(login);
  await shipperOf(spool, local, target).stop();
  await spool.recordDurably(login);
  await spool.close();
  const [file = ""] = namesIn(target);
  writeFileSync(join(target, file), Buffer.concat([readFileSync(join(target, file)), Buffer.alloc(100)]));
  const next = await spoolIn(local);
  const shipper = shipperOf(next, local, target);
  await shipper.stop();
  assert.equal(shipper.damaged, 0);
  const { chains, whole } = await verifyAudit(site);
  assert.ok(whole);
  assert.equal(chains[0]?.to?.seq, next.position().seq);
  await next.close();
});

test("a shipped segment that somebody changed is kept aside and shipped anew; verify says so", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  const target = join(site, NODE_ID);
  const spool = await spoolIn(local);
  await spool.recordDurably(login);
  await shipperOf(spool, local, target).stop();
  await spool.close();
  const [file = ""] = namesIn(target);
  const shipped = readFileSync(join(target, file), "utf8");
  writeFileSync(join(target, file), shipped.replace("ann", "eve"));
  assert.equal((await verifyAudit(site)).chains[0]?.fault?.fault, "changed");
  const next = await spoolIn(local);
  const shipper = shipperOf(next, local, target);
  await shipper.stop();
  assert.equal(shipper.damaged, 1);
  const { chains, whole } = await verifyAudit(site);
  assert.equal(chains[0]?.fault, undefined);
  assert.equal(chains[0]?.setAside.length, 1);
  assert.equal(whole, false);
  await next.close();
});

test("while the storage is away everything waits, and the lag says how long", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  let target: string | undefined;
  const spool = await spoolIn(local);
  const shipper = createShipper({ spool, directory: local, target: () => target, logger: silent, gatherMs: 1 });
  shipper.start();
  await spool.recordDurably(login);
  await pause(60);
  assert.ok(shipper.unshippedBytes() > 0);
  assert.ok(shipper.lagMs() >= 50);
  target = join(site, NODE_ID);
  await shipper.stop();
  assert.equal(shipper.lagMs(), 0);
  assert.ok((await verifyAudit(site)).whole);
  await spool.close();
});

test("nothing is made where the storage is only a bare mount point", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  let target = join(site, ".longshore", "audit", NODE_ID);
  const spool = await spoolIn(local);
  let rounds = 0;
  const shipper = createShipper({
    spool,
    directory: local,
    target: () => {
      rounds += 1;
      return target;
    },
    logger: silent,
    gatherMs: 1,
  });
  shipper.start();
  await spool.recordDurably(login);
  for (let i = 0; rounds < 2 && i < 300; i += 1) await pause(10);
  assert.ok(rounds >= 2);
  assert.deepEqual(readdirSync(site), []);
  target = join(site, NODE_ID);
  await shipper.stop();
  assert.ok((await verifyAudit(site)).whole);
  await spool.close();
});

test("a shipped file that vanished under a running node is shipped again, whole", async (t) => {
  const [local, site] = [scratch(t), scratch(t)];
  const target = join(site, NODE_ID);
  mkdirSync(target);
  const spool = await spoolIn(local);
  const shipper = shipperOf(spool, local, target);
  shipper.start();
  await spool.recordDurably(login);
  for (let i = 0; shipper.unshippedBytes() > 0 && i < 300; i += 1) await pause(10);
  rmSync(join(target, namesIn(target)[0] ?? ""));
  await spool.recordDurably(login);
  for (let i = 0; shipper.unshippedBytes() > 0 && i < 300; i += 1) await pause(10);
  await shipper.stop();
  assert.ok((await verifyAudit(site)).whole);
  await spool.close();
});
