import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { activePassiveSchema, type Mode } from "#config/active-schema.js";
import type { Coordination, Lease } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { until } from "#lib/testing.js";
import { type Active, createActive, type Leaving } from "./active.js";
import { createActiveSwitch } from "./active-switch.js";
import type { NodeRecord, NodeState } from "./contract.js";
import { decodeMembers } from "./members.js";

/** Several nodes of one site on the embedded store: real leases and watches, the nodes' own states made up. */

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

class Site {
  readonly coordination: Coordination;
  readonly nodes: FakeNode[] = [];
  mode: Mode = "active-passive";
  order: string[] = [];

  constructor(t: TestContext) {
    const awake = setInterval(() => {}, 1_000);
    const directory = mkdtempSync(join(tmpdir(), "longshore-active-"));
    this.coordination = createEmbeddedCoordination({ directory: join(directory, "store") });
    t.after(async () => {
      clearInterval(awake);
      for (const { active } of this.nodes) await active.stop();
      await this.coordination.close();
      rmSync(directory, { recursive: true, force: true });
    });
  }

  async node(slot: number, started = true): Promise<FakeNode> {
    const node = new FakeNode(this, slot);
    await node.join();
    this.nodes.push(node);
    if (started) node.active.start();
    return node;
  }

  settings() {
    return { mode: this.mode, activePassive: activePassiveSchema.parse({ order: this.order, unhealthySeconds: 1 }) };
  }

  async members(): Promise<readonly NodeRecord[]> {
    return decodeMembers((await this.coordination.list(keys.nodePrefix)).entries);
  }
}

class FakeNode {
  readonly name: string;
  readonly id: string;
  readonly active: Active;
  readonly left: Leaving[] = [];
  state: NodeState = "passive";
  usable = true;
  members: readonly NodeRecord[] = [];
  #lease: Lease | undefined;
  #life = 0;

  constructor(
    readonly site: Site,
    readonly slot: number,
  ) {
    this.name = `node-${slot}`;
    this.id = `id-${slot}`;
    this.active = createActive({
      coordination: site.coordination,
      identity: { id: this.id, name: this.name, slot, labels: {}, version: "1", addresses: {} },
      membership: { current: () => this.current() },
      members: () => site.nodes.filter((node) => node.#lease !== undefined).map((node) => node.record()),
      settings: () => site.settings(),
      state: () => this.state,
      onChange: () => {},
      onLeft: (how) => this.left.push(how),
      logger: silent,
    });
  }

  get incarnation(): string {
    return `${this.name}.${this.#life}`;
  }

  current() {
    const real = this.#lease;
    if (real === undefined) return undefined;
    const lease: Lease = Object.assign(Object.create(real) as Lease, { usable: () => this.usable, id: real.id });
    return { incarnation: this.incarnation, lease, ownerRevision: 1 };
  }

  record(): NodeRecord {
    const { id, name, slot, incarnation, state } = this;
    const load = { sessions: 0, transfers: 0, bytesPerSecond: 0 };
    const rest = { labels: {}, version: "1", addresses: {}, reasons: [], revision: 1, hash: "", lagMs: 0, at: 0 };
    return { id, name, slot, incarnation, state, load, ...rest };
  }

  /** A new life under a new lease. */
  async join(): Promise<void> {
    const lease = await this.site.coordination.lease();
    this.#life++;
    this.#lease = lease;
    await this.say();
    const apply = [{ put: keys.owner(this.incarnation), value: "0", lease: lease.id }];
    await this.site.coordination.transact({ compare: [], apply });
  }

  /** The heartbeat. */
  async say(state: NodeState = this.state): Promise<void> {
    this.state = state;
    const apply = [{ put: keys.node(this.id), value: JSON.stringify(this.record()), lease: this.#lease?.id ?? "" }];
    await this.site.coordination.transact({ compare: [], apply });
    this.active.check();
  }

  /** Its lease ends in the store. */
  async die(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.release();
  }

  async is(role: string): Promise<void> {
    await until(`${this.name} is ${role}`, () => this.active.role() === role);
  }
}

test("one takes it; it dies: the next one does, under a larger generation, and there is no failback", async (t) => {
  const site = new Site(t);
  const [one, two, three] = [await site.node(1, false), await site.node(2, false), await site.node(3, false)];
  for (const node of [three, two, one]) node.active.start();
  await one.is("active");
  const first = one.active.holder();
  assert.deepEqual([first?.name, first?.how], ["node-1", "first"]);
  await one.die();
  await two.is("active");
  const second = two.active.holder();
  assert.deepEqual([second?.how, second?.from], ["takeover", "node-1"]);
  assert.ok((second?.generation ?? 0) > (first?.generation ?? 0));
  await one.join();
  await until("the returned one sees it", () => one.active.holder()?.name === "node-2");
  assert.deepEqual([one.active.role(), two.active.role(), three.active.role()], ["passive", "active", "passive"]);
  assert.deepEqual([one.left, one.active.leaving()], [["lost"], "lost"]);
});

test("a drain hands over to one that is well by its own last word, not by what was heard before", async (t) => {
  const site = new Site(t);
  const [one, two, three] = [await site.node(1), await site.node(2), await site.node(3)];
  await until("one is active", () => site.nodes.some((node) => node.active.role() === "active"));
  const holder = site.nodes.find((node) => node.active.role() === "active") ?? one;
  const [next, last] = [one, two, three].filter((node) => node !== holder);
  assert.ok(next !== undefined && last !== undefined);
  // In the store it drains, but nobody has heard that yet.
  await next.say("draining");
  next.state = "passive";
  await holder.say("draining");
  await pause(600);
  assert.equal(holder.active.role(), "active", "nobody who is well in the store was first in the order");
  next.state = "draining";
  await last.is("active");
  assert.equal(last.active.holder()?.how, "handover");
  assert.deepEqual(holder.left, ["planned"]);
  assert.equal(holder.active.leaving(), "planned");
});

test("one that is unwell for the set time hands over; where all are, it keeps the key", async (t) => {
  const site = new Site(t);
  const one = await site.node(1);
  await one.is("active");
  const two = await site.node(2);
  await two.say("cut-off");
  await one.say("cut-off");
  await pause(1_600);
  assert.equal(one.active.role(), "active");
  await two.say("passive");
  await two.is("active");
});

test("a planned switch, and its refusals", async (t) => {
  const site = new Site(t);
  const one = await site.node(1);
  await one.is("active");
  const two = await site.node(2);
  const members = await site.members();
  const { switch: change, holder } = createActiveSwitch({
    coordination: site.coordination,
    members: { list: () => members },
  });
  const rules = { mode: "active-passive", order: [] } as const;
  assert.equal((await change(rules, undefined, true)).to.name, "node-2");
  assert.equal((await holder())?.name, "node-1", "a dry run changes nothing");
  assert.equal((await change(rules, "node-1", false)).switches, false);
  await assert.rejects(change(rules, "node-9", false), { code: "not-found" });
  await assert.rejects(change({ ...rules, mode: "active-active" }, "node-2", false), { code: "unsupported" });
  await two.say("draining");
  await assert.rejects(change(rules, "node-2", false), {
    code: "busy",
    message: /^node-2 is draining.*can't take over now/,
  });
  await two.say("passive");
  assert.equal((await change(rules, "node-2", false)).from?.name, "node-1");
  await two.is("active");
  await one.is("passive");
  assert.deepEqual(one.left, ["planned"]);
  assert.ok(one.active.passiveMs() >= 0);
});

/** Two nodes of an active-active site. */
async function pairThatShares(t: TestContext) {
  const site = new Site(t);
  site.mode = "active-active";
  const [one, two] = [await site.node(1), await site.node(2)];
  await one.is("shared");
  await two.is("shared");
  return { site, one, two };
}

test("the mode changes: all serve until one is the active one, and all again when it changes back", async (t) => {
  const { site, one, two } = await pairThatShares(t);
  site.mode = "active-passive";
  assert.notEqual(two.active.role(), "passive", "nobody is it yet");
  await one.is("active");
  await two.is("passive");
  assert.equal(two.active.leaving(), "planned");
  site.mode = "active-active";
  await one.is("shared");
  await two.is("shared");
  await until("the key is given up", async () => (await site.coordination.get(keys.active)) === undefined);
});

test("the mode changes: the first in the order is the active one, whoever hears of it first", async (t) => {
  const { site, one, two } = await pairThatShares(t);
  site.order = ["node-2"];
  // Both know for long that nobody holds the key.
  await pause(1_200);
  site.mode = "active-passive";
  one.active.check();
  await two.is("active");
  await one.is("passive");
  assert.deepEqual([two.active.holder()?.how, one.active.leaving()], ["first", "planned"]);
});

test("a node that once stood still while all served ends no transfers when the mode changes later", async (t) => {
  const { site, one, two } = await pairThatShares(t);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_700);
  // The first tick notices; the lease is the same, and usable.
  for (const { active } of site.nodes) active.check();
  site.mode = "active-passive";
  await one.is("active");
  await two.is("passive");
  assert.equal(two.active.leaving(), "planned");
});

test("a process that stood still doubts itself until its lease is confirmed", async (t) => {
  const site = new Site(t);
  const one = await site.node(1);
  await one.is("active");
  assert.equal(one.active.doubtful(), false);
  one.usable = false;
  assert.equal(one.active.doubtful(), false, "a lease that isn't usable alone: etcd may be away, as in active-active");
  // The whole process stands still.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_700);
  assert.equal(one.active.doubtful(), true, "before any timer has run");
  one.usable = true;
  assert.equal(one.active.doubtful(), false);
  one.active.check();
  one.usable = false;
  assert.equal(one.active.doubtful(), false, "the lease that lived on has settled it");
});
