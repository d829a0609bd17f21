import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Incarnation, nodeRecordSchema } from "#cluster/contract.js";
import { NodeConflictError } from "#cluster/errors.js";
import { createIntents } from "#cluster/intents.js";
import { createMembersView } from "#cluster/members.js";
import { createMembership } from "#cluster/membership.js";
import { keys } from "#coordination/keys.js";
import { isProcessGone } from "#lib/incarnation.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { type Started, start } from "../support/processes.js";
import { connect, heartbeat, identity, keepAwake, newSite, recordingLogger } from "./fixture.js";

let etcd: EtcdCluster;
keepAwake();
before(async () => {
  etcd = await startEtcd();
});
after(() => etcd.stop());

type Ends = { after(fn: () => Promise<void> | void): void };

function member(t: Ends, site: string, name: string, slot: number, options: { id?: string; patienceMs?: number } = {}) {
  const coordination = connect(etcd.endpoints, site);
  const logger = recordingLogger();
  const begun: Incarnation[] = [];
  const membership = createMembership({
    coordination,
    identity: identity(name, slot, options.id),
    heartbeat,
    logger,
    ...(options.patienceMs === undefined ? {} : { patienceMs: options.patienceMs }),
  });
  membership.onIncarnation((incarnation) => begun.push(incarnation));
  t.after(async () => {
    await membership.stop();
    await coordination.close();
  });
  return { membership, coordination, logger, begun };
}

interface Life {
  readonly process: Started;
  /** The next line that the process reports. */
  next(): Promise<Record<string, unknown>>;
}

function life(t: Ends, site: string, name: string, slot: number, id: string, ttlMs = 3_000): Life {
  const script = fileURLToPath(new URL("member-process.js", import.meta.url));
  const args = [script, etcd.endpoints.join(","), site, name, String(slot), id, String(ttlMs)];
  const started = start(process.execPath, args, { name });
  t.after(() => started.kill());
  assert.ok(started.stdout);
  const lines = createInterface({ input: started.stdout });
  const waiting: Record<string, unknown>[] = [];
  lines.on("line", (line) => {
    waiting.push(JSON.parse(line) as Record<string, unknown>);
  });
  return {
    process: started,
    async next() {
      await until(`${name} reports`, () => waiting.length > 0, { deadlineMs: 15_000, everyMs: 10 });
      return waiting.shift() ?? {};
    },
  };
}

test("a node registers with all its keys on one lease, and leaves none when it stops", async (t) => {
  const site = newSite();
  const { membership, coordination } = member(t, site, "alpha", 1);
  await membership.start();
  const current = membership.current();
  assert.ok(current);
  assert.ok(membership.usable());
  const owner = await coordination.get(keys.owner(current.incarnation));
  assert.equal(owner?.value, "0");
  assert.equal(owner?.createRevision, current.ownerRevision);
  assert.equal(owner?.modRevision, current.ownerRevision);
  const everything = await coordination.list("");
  assert.equal(everything.entries.length, 4);
  for (const entry of everything.entries) assert.equal(entry.lease, current.lease.id, entry.key);
  await membership.stop();
  await membership.stop();
  assert.equal(membership.current(), undefined);
  assert.deepEqual((await coordination.list("")).entries, []);
});

test("heartbeats come each second, and at once after a change", async (t) => {
  const { membership, coordination } = member(t, newSite(), "alpha", 1);
  await membership.start();
  const [node] = (await coordination.list(keys.nodePrefix)).entries;
  assert.ok(node);
  const beat = async () => nodeRecordSchema.parse(JSON.parse((await coordination.get(node.key))?.value ?? "")).at;
  const first = await beat();
  await until("a second heartbeat", async () => (await beat()) > first, { deadlineMs: 2_500 });
  const second = await beat();
  membership.touch();
  await until("a heartbeat at once", async () => (await beat()) > second, { deadlineMs: 600, everyMs: 10 });
});

test("nodes that start at once are all seen by each other", async (t) => {
  const site = newSite();
  const nodes = ["a", "b", "c", "d"].map((name, at) => member(t, site, name, at + 1));
  await Promise.all(nodes.map(({ membership }) => membership.start()));
  const view = createMembersView({ coordination: nodes[0]?.coordination ?? connect(etcd.endpoints, site) });
  t.after(() => view.stop());
  view.start();
  await until("four members", () => view.list().length === 4, { deadlineMs: 3_000 });
  assert.deepEqual(
    view.list().map(({ name, slot }) => `${name}${slot}`),
    ["a1", "b2", "c3", "d4"],
  );
});

test("a second node with the slot or the name of a living one is refused and says what to change", async (t) => {
  const site = newSite();
  await member(t, site, "alpha", 1).membership.start();
  const sameSlot = member(t, site, "beta", 1, { patienceMs: 500 });
  await assert.rejects(sameSlot.membership.start(), (error) => {
    assert.ok(error instanceof NodeConflictError);
    assert.match(error.message, /slot 1 belongs to another node, "alpha".*"slot" of its own/);
    return true;
  });
  const sameName = member(t, site, "alpha", 2, { patienceMs: 500 });
  await assert.rejects(sameName.membership.start(), /name "alpha" belongs to another node/);
  await sameSlot.membership.stop();
  assert.equal((await sameName.coordination.list(keys.nodePrefix)).entries.length, 1);
});

test("of many nodes that claim one slot at once, one gets it", async (t) => {
  const site = newSite();
  const nodes = ["a", "b", "c", "d"].map((name) => member(t, site, name, 9, { patienceMs: 300 }));
  const results = await Promise.allSettled(nodes.map(({ membership }) => membership.start()));
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
});

test("a new node waits for the lease of a dead one whose slot it gets, instead of failing", async (t) => {
  const site = newSite();
  const old = life(t, site, "old", 1, randomUUID());
  await old.next();
  await old.process.kill();
  const { membership } = member(t, site, "new", 1);
  await membership.start();
  assert.ok(membership.usable());
});

test("a node killed with -9 takes its slot back at once, and its dead owner is gone from the store", async (t) => {
  const site = newSite();
  const id = randomUUID();
  // Long enough that a restart which waited for it would be noticed on the busiest machine.
  const ttlMs = 20_000;
  const first = life(t, site, "alpha", 1, id, ttlMs);
  const { incarnation } = await first.next();
  const coordination = connect(etcd.endpoints, site);
  t.after(() => coordination.close());
  const lease = (await coordination.get(keys.owner(String(incarnation))))?.lease;
  assert.ok(lease);
  await first.process.kill();
  assert.ok(isProcessGone(String(incarnation)));
  const killedAt = performance.now();
  const second = life(t, site, "alpha", 1, id, ttlMs);
  const again = await second.next();
  const tookMs = performance.now() - killedAt;
  assert.notEqual(again.incarnation, incarnation);
  assert.ok(tookMs < ttlMs - 5_000, `took ${tookMs} ms, as if it had waited for the lease`);
  assert.equal(await coordination.get(keys.owner(String(incarnation))), undefined);
  assert.ok(await coordination.get(keys.owner(String(again.incarnation))));
  // The end of the former lease must take nothing of the new life with it.
  await etcd.ctl("lease", "revoke", BigInt(lease).toString(16));
  assert.equal((await coordination.list("")).entries.length, 4);
});

test("the same node started twice: the second process is refused, the first goes on", async (t) => {
  const site = newSite();
  const id = randomUUID();
  const first = life(t, site, "alpha", 1, id);
  const { incarnation } = await first.next();
  const second = life(t, site, "alpha", 1, id);
  const { error } = await second.next();
  assert.match(String(error), /already runs as node "alpha"/);
  const coordination = connect(etcd.endpoints, site);
  t.after(() => coordination.close());
  assert.ok(await coordination.get(keys.owner(String(incarnation))));
});

test("a lost lease ends the incarnation, and the node registers again by itself with a new one", async (t) => {
  const { membership, coordination, begun } = member(t, newSite(), "alpha", 1);
  await membership.start();
  const before = membership.current();
  assert.ok(before);
  await etcd.ctl("lease", "revoke", BigInt(before.lease.id).toString(16));
  await until("a new incarnation", () => begun.length === 2, { deadlineMs: 5_000, everyMs: 20 });
  const now = membership.current();
  assert.ok(now);
  assert.notEqual(now.incarnation, before.incarnation);
  assert.ok(before.lease.ended());
  assert.ok(now.lease.usable());
  assert.equal((await coordination.list("")).entries.length, 4);
});

test("an owner key that is deleted ends the incarnation, too", async (t) => {
  const { membership, coordination, begun } = member(t, newSite(), "alpha", 1);
  await membership.start();
  const before = membership.current();
  assert.ok(before);
  await coordination.transact({ compare: [], apply: [{ delete: keys.owner(before.incarnation) }] });
  await until("a new incarnation", () => begun.length === 2, { deadlineMs: 5_000, everyMs: 20 });
  assert.ok(before.lease.ended());
});

test("a process that slept past its lease wakes up without a usable one, and comes back under a new incarnation", async (t) => {
  const site = newSite();
  const sleeper = life(t, site, "alpha", 1, randomUUID());
  const { incarnation } = await sleeper.next();
  sleeper.process.signal("SIGSTOP");
  const coordination = connect(etcd.endpoints, site);
  t.after(() => coordination.close());
  await until("its keys are gone", async () => (await coordination.list("")).entries.length === 0, {
    deadlineMs: 10_000,
  });
  sleeper.process.signal("SIGCONT");
  const again = await sleeper.next();
  assert.notEqual(again.incarnation, incarnation);
});

test("an operator's wish to drain reaches the node, and outlives its restart", async (t) => {
  const site = newSite();
  const id = randomUUID();
  const first = member(t, site, "alpha", 1, { id });
  await first.membership.start();
  const intents = createIntents({ coordination: first.coordination });
  await intents.drain(id);
  await until("the wish is seen", () => first.membership.drainWished(), { deadlineMs: 1_000, everyMs: 10 });
  await first.membership.stop();
  const second = member(t, site, "alpha", 1, { id });
  await second.membership.start();
  await until("the wish is seen again", () => second.membership.drainWished(), { deadlineMs: 1_000, everyMs: 10 });
  await intents.undrain(id);
  await until("the wish is gone", () => !second.membership.drainWished(), { deadlineMs: 1_000, everyMs: 10 });
});

test("a node that starts before the store waits, says so, and registers when the store is there", async (t) => {
  const [one] = etcd.members;
  assert.ok(one);
  await one.kill();
  const { membership, logger } = member(t, newSite(), "alpha", 1);
  const started = membership.start();
  await until("it says that it waits", () => logger.lines.some((line) => /waiting for the coordination/.test(line)), {
    deadlineMs: 10_000,
  });
  assert.equal(membership.usable(), false);
  await one.restart();
  await started;
  assert.ok(membership.usable());
});

test("a start that waits for the store can be stopped", async (t) => {
  const coordination = connect(["127.0.0.1:1"], newSite());
  const membership = createMembership({
    coordination,
    identity: identity("alpha", 1),
    heartbeat,
    logger: recordingLogger(),
  });
  t.after(() => coordination.close());
  const started = assert.rejects(membership.start(), /stopped/);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await membership.stop();
  await started;
});

test("while the store is away the lease isn't usable; when it is back, the node works on", async (t) => {
  const [one] = etcd.members;
  assert.ok(one);
  const { membership, coordination } = member(t, newSite(), "alpha", 1);
  await membership.start();
  one.stop();
  await until("the lease isn't usable", () => !membership.usable(), { deadlineMs: 3_000, everyMs: 10 });
  one.cont();
  await until("the lease is usable", () => membership.usable(), { deadlineMs: 10_000, everyMs: 20 });
  const now = membership.current();
  assert.ok(now);
  assert.ok(await coordination.get(keys.owner(now.incarnation)));
});
