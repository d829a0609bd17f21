import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { securitySchema } from "#config/security-schema.js";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs } from "#lib/clock.js";
import { until } from "#lib/testing.js";
import { createSecurity, type Security } from "./security.js";

/** Several nodes' security on one real store, which the test can take away, and whose transactions it counts. */
interface Bench {
  readonly store: Coordination;
  /** Transactions asked for. */
  transactions(): number;
  away(is: boolean): void;
  /** Listings fail, writes don't. */
  blind(is: boolean): void;
  node(id: string): Promise<Security>;
  /** The site's clock. */
  later(ms: number): void;
  readonly flushed: number[];
}

const SETTINGS = securitySchema.parse({ addressFailures: 5, accountFailures: 8 });
const silent = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

function bench(t: TestContext, settings = SETTINGS): Bench {
  const directory = mkdtempSync(join(tmpdir(), "longshore-security-"));
  const store = createEmbeddedCoordination({ directory });
  const alive: Security[] = [];
  const flushed: number[] = [];
  let transactions = 0;
  let away = false;
  let blind = false;
  let ahead = 0;
  // Timers of ours keep no process alive.
  const awake = setInterval(() => {}, 1_000);
  t.after(async () => {
    await Promise.all(alive.map((each) => each.stop()));
    await store.close();
    rmSync(directory, { recursive: true });
    clearInterval(awake);
  });
  const guarded = <T>(run: () => Promise<T>) => (away ? Promise.reject(new StoreUnavailableError("away")) : run());
  const coordination: Coordination = {
    get: (key, more) => guarded(() => store.get(key, more)),
    list: (prefix, more) =>
      blind ? Promise.reject(new StoreUnavailableError("blind")) : guarded(() => store.list(prefix, more)),
    transact: (transaction, more) => {
      transactions++;
      return guarded(() => store.transact(transaction, more));
    },
    lease: (more) => store.lease(more),
    watch: (prefix, hint) => store.watch(prefix, hint),
    maxOperations: store.maxOperations,
    close: () => store.close(),
  };
  return {
    store,
    flushed,
    transactions: () => transactions,
    away: (is) => {
      away = is;
    },
    blind: (is) => {
      blind = is;
    },
    later: (ms) => {
      ahead += ms;
    },
    async node(id) {
      const security = createSecurity({
        coordination,
        nodeId: id,
        balancers: ["10.0.0.1", "10.0.0.2"],
        now: () => Date.now() + ahead,
        settings: () => settings,
        exists: (account) => account === "ann",
        observer: {
          loginRefused() {},
          loginThrottled() {},
          imposed() {},
          countersFlushed: (bytes) => void flushed.push(bytes),
        },
        sweepMs: 200,
        logger: silent,
      });
      security.start();
      alive.push(security);
      return security;
    },
  };
}

function fail(security: Security, address: string, times: number, account?: string): void {
  for (let i = 0; i < times; i++) security.failed(address, account);
}

test("failures on two nodes add up, and the ban that follows holds on both", async (t) => {
  const { node } = bench(t);
  const [one, two] = [await node("one"), await node("two")];
  fail(one, "192.0.2.1", 3);
  await until("two hears of them", () => two.failures("192.0.2.1", "").ofAddress === 3);
  fail(two, "192.0.2.1", 1);
  assert.equal(two.bannedBy("192.0.2.1"), undefined);
  fail(two, "192.0.2.1", 1);
  assert.equal(two.bannedBy("192.0.2.1")?.subject, "192.0.2.1");
  await until("one obeys", () => one.bannedBy("192.0.2.1") !== undefined, { deadlineMs: 1_000 });
  assert.equal(one.bannedBy("192.0.2.2"), undefined);
});

test("failures at two nodes in the same moment are enough together, though none sees the other's when it decides", async (t) => {
  const { node, store } = bench(t);
  const [one, two] = [await node("one"), await node("two")];
  fail(one, "192.0.2.1", 3);
  fail(two, "192.0.2.1", 2);
  for (const each of [one, two]) assert.equal(each.bannedBy("192.0.2.1"), undefined);
  for (const each of [one, two])
    await until("it is banned", () => each.bannedBy("192.0.2.1") !== undefined, { deadlineMs: 1_000 });
  await until("one ban is in the store", async () => (await store.list(keys.banPrefix)).entries.length === 1);
  assert.equal(one.bannedBy("192.0.2.1")?.level, 1);
});

test("a decision from before the store was read doesn't shorten the ban that is there", async (t) => {
  const { node, store } = bench(t);
  const end = Date.now() + 86_400_000;
  const record = { subject: "192.0.2.1", at: Date.now(), until: end, level: 5, by: "failed-logins", reason: "" };
  await store.transact({ compare: [], apply: [{ put: `${keys.banPrefix}192.0.2.1`, value: JSON.stringify(record) }] });
  const one = await node("one");
  fail(one, "192.0.2.1", 5);
  assert.equal(one.bannedBy("192.0.2.1")?.level, 1);
  await until("the one that counts is known", () => one.bannedBy("192.0.2.1")?.level === 5);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.equal(JSON.parse((await store.get(`${keys.banPrefix}192.0.2.1`))?.value ?? "{}").until, end);
});

test("after its end a ban is remembered: the next one is longer, and starts from no failures", async (t) => {
  const { node, later } = bench(t);
  const [one, two] = [await node("one"), await node("two")];
  fail(one, "192.0.2.1", 5);
  await until("both know", () => two.bannedBy("192.0.2.1") !== undefined);
  later(61_000);
  assert.equal(one.bannedBy("192.0.2.1"), undefined);
  assert.equal(two.bannedBy("192.0.2.1"), undefined);
  fail(two, "192.0.2.1", 4);
  assert.equal(two.bannedBy("192.0.2.1"), undefined);
  fail(two, "192.0.2.1", 1);
  const again = two.bannedBy("192.0.2.1");
  assert.equal(again?.level, 2);
  assert.equal(Number(again?.until) - Number(again?.at), 300_000);
});

test("an account is locked by failures from many addresses; lifting that starts it anew on every node", async (t) => {
  const { node } = bench(t);
  const [one, two] = [await node("one"), await node("two")];
  for (let i = 0; i < 7; i++) fail(i % 2 === 0 ? one : two, `192.0.2.${i}`, 1, "ann");
  await until("one knows all", () => one.failures("", "ann").ofAccount === 7);
  assert.equal(one.lockoutOf("ann"), undefined);
  fail(one, "192.0.2.50", 1, "ann");
  await until("two knows of it", () => two.lockoutOf("ann") !== undefined);
  assert.equal(await two.lockouts.remove("ann"), true);
  await until("one knows of that, too", () => one.lockoutOf("ann") === undefined);
  await until("nothing is left", () => one.failures("", "ann").ofAccount + two.failures("", "ann").ofAccount === 0);
  one.failed("192.0.2.51", "ann");
  assert.equal(one.lockoutOf("ann"), undefined);
});

test("a balancer is never banned, though it fails for ever, or lies within a ban of somebody else's", async (t) => {
  const { node } = bench(t);
  const one = await node("one");
  fail(one, "10.0.0.1", 500);
  assert.equal(one.bannedBy("10.0.0.1"), undefined);
  assert.deepEqual(one.bans.list(), []);
  await one.bans.add({
    subject: "10.0.0.0/24",
    at: Date.now(),
    until: null,
    level: 1,
    by: "administrator",
    reason: "",
  });
  await until("it is in force", () => one.bannedBy("10.0.0.77") !== undefined);
  assert.equal(one.bannedBy("10.0.0.2"), undefined);
  assert.equal(one.bannedBy("::ffff:10.0.0.2"), undefined);
  assert.equal(one.bannedBy("::ffff:10.0.0.77")?.subject, "10.0.0.0/24");
});

test("while the store is away a node decides from memory, and says it all when the store is back", async (t) => {
  const { node, away, store } = bench(t);
  const one = await node("one");
  await until("it has started", () => one.bans.list().length === 0);
  fail(one, "192.0.2.9", 4);
  await until("the counters are written", async () => (await store.get(keys.counters("one"))) !== undefined);
  away(true);
  fail(one, "192.0.2.9", 1);
  assert.notEqual(one.bannedBy("192.0.2.9"), undefined);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.notEqual(one.bannedBy("192.0.2.9"), undefined);
  assert.equal(await store.get(`${keys.banPrefix}192.0.2.9`), undefined);
  away(false);
  await until("the ban is written", async () => (await store.get(`${keys.banPrefix}192.0.2.9`)) !== undefined, {
    deadlineMs: 5_000,
  });
  const two = await node("two");
  await until("another node obeys", () => two.bannedBy("192.0.2.9") !== undefined);
});

test("a node that starts again goes on with the failures that it had counted", async (t) => {
  const { node, store, blind } = bench(t);
  const before = await node("one");
  fail(before, "192.0.2.1", 4);
  await until("they are written", async () => (await store.get(keys.counters("one"))) !== undefined);
  await before.stop();
  blind(true);
  const after = await node("one");
  // Failures before the store has answered count on top, and don't overwrite what is there.
  fail(after, "192.0.2.2", 1);
  await new Promise((resolve) => setTimeout(resolve, 600));
  blind(false);
  await until("it has read them", () => after.failures("192.0.2.1", "").ofAddress === 4);
  assert.equal(after.failures("192.0.2.2", "").ofAddress, 1);
  fail(after, "192.0.2.1", 1);
  assert.notEqual(after.bannedBy("192.0.2.1"), undefined);
});

test("a storm of failures from ever new addresses costs the store a few bounded writes a second", async (t) => {
  const { node, transactions, flushed, store } = bench(t);
  const one = await node("one");
  await until("it has started", () => one.bans.list().length === 0);
  const before = transactions();
  const began = monotonicMs();
  let failures = 0;
  while (monotonicMs() - began < 3_000) {
    for (let i = 0; i < 200; i++, failures++) {
      const n = failures % 20_000;
      one.failed(`172.${16 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`, `name-${failures}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const seconds = (monotonicMs() - began) / 1_000;
  const writes = transactions() - before;
  t.diagnostic(
    `${failures} failures, ${writes} transactions in ${seconds.toFixed(1)} s, at most ${Math.max(...flushed)} bytes`,
  );
  assert.ok(failures > 5_000);
  // Four writes of counters and four of bans a second.
  assert.ok(writes <= 8 * (seconds + 1), `${writes} transactions in ${seconds} s`);
  assert.ok(Math.max(...flushed) < 150_000, `${Math.max(...flushed)} bytes`);
  await until("waiting decisions stay bounded", async () => (await store.list(keys.banPrefix)).entries.length <= 4_032);
});

test("what is forgotten leaves the store: records of measures, and counters of nodes that are gone", async (t) => {
  const { node, later, store } = bench(t);
  const gone = await node("gone");
  fail(gone, "192.0.2.1", 5);
  fail(gone, "192.0.2.2", 1);
  await until("all is written", async () => (await store.list("security/")).entries.length === 2);
  await gone.stop();
  later(8 * 24 * 3_600_000);
  await node("one");
  await until("all is swept", async () => (await store.list("security/")).entries.length === 0);
});
