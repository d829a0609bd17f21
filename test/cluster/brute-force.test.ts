import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "#lib/testing.js";
import { makeKeyPair } from "#protocols/sftp/testing-keys.js";
import { keepAwake } from "./fixture.js";
import { GuardedSite } from "./guarded-site.js";

/** Guessing through the balancer and at single nodes: only the guilty are shut out, by every node, and it lasts. */

const LIMIT = 5;
const PASSWORD = "the right one";
const keys = await makeKeyPair();
let site: GuardedSite;

keepAwake();
before(async () => {
  site = await GuardedSite.start();
  await site.settings({
    security: { addressFailures: LIMIT, accountFailures: 12, banSeconds: [3_600], lockoutSeconds: [3_600] },
  });
  for (const name of ["ann", "bob", "cyd"]) await site.account(name, { password: PASSWORD, publicKeys: [keys.public] });
});
after(() => site.stop());

/** Wrong passwords one after the other; what the last one heard. */
async function attack(where: number | "haproxy", source: string, user: string, times: number): Promise<string> {
  let heard = "";
  for (let i = 0; i < times; i++) heard = await site.guess(where, source, user, `wrong ${i}`);
  return heard;
}

const everyNode = [0, 1, 2];

test("many addresses guess through the balancer: only the guilty are banned, on every node within a second", async () => {
  const guilty = ["127.0.0.11", "127.0.0.12", "127.0.0.13"];
  const clumsy = "127.0.0.21";
  await Promise.all([
    ...guilty.map((source, at) => attack("haproxy", source, `nobody-${at}`, LIMIT)),
    attack("haproxy", clumsy, "bob", LIMIT - 3),
  ]);
  const began = performance.now();
  for (const index of everyNode) {
    await until(`node ${index} knows`, async () => (await site.bans(index)).join() === guilty.join(), {
      deadlineMs: 1_000,
    });
  }
  assert.ok(performance.now() - began < 1_000);
  for (const index of everyNode)
    for (const source of guilty) assert.equal(await site.welcomes(index, source), false, `${source} at ${index}`);
  for (const source of guilty) assert.equal(await site.guess("haproxy", source, "bob", PASSWORD), "closed");
  assert.equal(await site.guess("haproxy", clumsy, "bob", PASSWORD), "in");
  assert.equal(await site.guess("haproxy", "127.0.0.22", "bob", PASSWORD), "in");
});

test("failures on different nodes add up", async () => {
  for (const index of [0, 1, 2, 0]) await attack(index, "198.51.100.7", "nobody", 1);
  await until(
    "the counters meet",
    async () => {
      // One more from an address that has the same history changes nothing yet: the counts are compared by their effect.
      return (await site.metric(2, /^longshore_security_flushes_total (\d+)/m)) > 0;
    },
    { deadlineMs: 2_000 },
  );
  assert.deepEqual((await site.bans(0)).includes("198.51.100.7"), false);
  await until(
    "the fifth bans it",
    async () => {
      await attack(1, "198.51.100.7", "nobody", 1);
      return (await site.bans(2)).includes("198.51.100.7");
    },
    { deadlineMs: 5_000 },
  );
});

test("the balancer is never banned, neither by failures nor by an administrator", async () => {
  await attack("haproxy", "127.0.0.1", "nobody", 2 * LIMIT);
  assert.equal(await site.guess("haproxy", "127.0.0.1", "bob", PASSWORD), "in");
  for (const index of everyNode) assert.equal((await site.bans(index)).includes("127.0.0.1"), false);
  for (const address of ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::ffff:127.0.0.1"]) {
    const { status, text } = await site.node(1).ask("/api/v1/bans", { method: "POST", body: { address } });
    assert.equal(status, 422, address);
    assert.match(text, /balancer/);
  }
});

test("an IPv6 attacker can't move about in its /64", async () => {
  for (let i = 1; i <= LIMIT; i++) await attack(0, `2001:db8:0:1::${i}`, "nobody", 1);
  await until("banned everywhere", async () => !(await site.welcomes(2, "2001:db8:0:1:ffff::9")), {
    deadlineMs: 1_000,
  });
  assert.equal(await site.welcomes(2, "2001:db8:0:2::1"), true);
  assert.ok((await site.bans(1)).includes("2001:db8:0:1::/64"));
});

test("guessing at an account from everywhere locks its password for strangers, not for the partner, nor for keys", async () => {
  const home = "203.0.113.5";
  assert.equal(await site.guess(0, home, "ann", PASSWORD), "in");
  for (let i = 0; i < 12; i++) await attack(i % 3, `203.0.113.${100 + i}`, "ann", 1);
  const locked = async (index: number) => {
    const { lockouts } = (await site.node(index).ask("/api/v1/lockouts")).body as { lockouts: { account: string }[] };
    return lockouts.some(({ account }) => account === "ann");
  };
  for (const index of everyNode) await until(`locked at ${index}`, () => locked(index), { deadlineMs: 2_000 });
  assert.equal(await site.guess(1, "203.0.113.200", "ann", PASSWORD), "refused");
  assert.equal(await site.guess(2, home, "ann", PASSWORD), "in");
  const byKey = await site.at(1, "203.0.113.201", "ann", { privateKey: keys.private });
  await byKey.end();
  assert.equal(await site.guess(1, "203.0.113.200", "bob", PASSWORD), "in");

  assert.equal((await site.node(2).ask("/api/v1/lockouts/ann", { method: "DELETE" })).status, 204);
  await until(
    "a stranger is let in again",
    async () => {
      return (await site.guess(0, "203.0.113.202", "ann", PASSWORD)) === "in";
    },
    { deadlineMs: 1_500 },
  );
  assert.equal((await site.node(2).ask("/api/v1/lockouts/ann", { method: "DELETE" })).status, 404);
});

test("an administrator bans a network and lifts the ban; a bad one is refused with its fault", async () => {
  const body = { address: "192.0.2.77/25", seconds: 600, reason: "scanner" };
  const made = await site.node(0).ask("/api/v1/bans", { method: "POST", body });
  assert.equal(made.status, 201);
  assert.equal(made.body.address, "192.0.2.0/25");
  for (const index of everyNode) {
    await until("in force", async () => !(await site.welcomes(index, "192.0.2.99")), { deadlineMs: 1_000 });
    assert.equal(await site.welcomes(index, "192.0.2.200"), true);
  }
  const path = `/api/v1/bans/${encodeURIComponent("192.0.2.0/25")}`;
  assert.equal((await site.node(2).ask(path, { method: "DELETE" })).status, 204);
  for (const index of everyNode) await until("lifted", () => site.welcomes(index, "192.0.2.99"), { deadlineMs: 1_000 });
  assert.equal((await site.node(1).ask(path, { method: "DELETE" })).status, 404);
  for (const bad of [
    { address: "nowhere" },
    { address: "1.2.3.4", minutes: 1 },
    { address: "1.2.3.4", seconds: 0 },
    [],
  ]) {
    const { status, text } = await site.node(1).ask("/api/v1/bans", { method: "POST", body: bad });
    assert.equal(status, 422, text);
  }
});

test("address rules of the site: denied ones, and all but the allowed ones, aren't taken", async () => {
  await site.settings({ addressRules: { deny: ["198.51.100.0/24"], allow: [] } });
  assert.equal(await site.welcomes(1, "198.51.100.200"), false);
  assert.equal(await site.welcomes(1, "203.0.113.1"), true);
  await site.settings({ addressRules: { deny: ["198.51.100.0/24"], allow: ["203.0.113.0/24", "198.51.0.0/16"] } });
  assert.equal(await site.welcomes(2, "203.0.113.1"), true);
  assert.equal(await site.welcomes(2, "192.0.2.1"), false);
  assert.equal(await site.welcomes(2, "198.51.100.200"), false);
  await site.settings({ addressRules: { deny: [], allow: [] } });
  assert.equal(await site.welcomes(0, "192.0.2.1"), true);
});

test("bans and counters outlive the restart of every node", async () => {
  for (let i = 0; i < LIMIT - 1; i++) await attack(i % 3, "198.51.100.40", "nobody", 1);
  // At most 250 ms of counters are lost with a node.
  const counters = () => site.etcd.ctl("get", "/longshore/test/security/counters/", "--prefix", "--print-value-only");
  const counted = async () =>
    (await counters()).split("\n").reduce((sum, line) => {
      const told = line === "" ? [] : (JSON.parse(line) as { addresses: [string, number[]][] }).addresses;
      const buckets = told.find(([source]) => source === "198.51.100.40")?.[1] ?? [];
      return sum + buckets.reduce((all, value, at) => all + (at % 2 === 1 ? value : 0), 0);
    }, 0);
  await until("the counters are in the store", async () => (await counted()) === LIMIT - 1, { deadlineMs: 2_000 });
  const before = await site.bans(0);
  assert.ok(before.length >= 4);

  await Promise.all(site.nodes.map((node) => node.process.kill()));
  for (const node of site.nodes) node.launch();
  await Promise.all(site.nodes.map((node) => node.ready()));
  for (const index of everyNode) {
    await until("its bans are back", async () => (await site.bans(index)).join() === before.join(), {
      deadlineMs: 2_000,
    });
    assert.equal(await site.welcomes(index, "127.0.0.11"), false);
  }
  await attack(1, "198.51.100.40", "nobody", 1);
  await until("the one failure that was missing", async () => (await site.bans(2)).includes("198.51.100.40"), {
    deadlineMs: 1_500,
  });
});

test("a storm of wrong passwords costs the store no more than a few writes a second", async () => {
  await site.settings({ security: { addressFailures: 3, accountFailures: 3, throttle: { afterFailures: 0 } } });
  const transactions = async () => {
    const each = everyNode.map((index) =>
      site.metric(index, /^longshore_store_seconds_count\{call="transact"\} (\d+)/m),
    );
    return (await Promise.all(each)).reduce((sum, count) => sum + count, 0);
  };
  const refusedLogins = async () => {
    const each = everyNode.map((index) =>
      site.metric(index, /^longshore_logins_refused_total\{reason="credential"\} (\d+)/m),
    );
    return (await Promise.all(each)).reduce((sum, count) => sum + count, 0);
  };
  const [writesBefore, failuresBefore] = [await transactions(), await refusedLogins()];
  const began = performance.now();
  let next = 0;
  const lane = async () => {
    while (performance.now() - began < 6_000) {
      const n = next++;
      // Each address guesses once or twice, at ever new names: nobody is banned, all of it is to be counted.
      await site.guess(n % 3, `10.${n % 200}.${(n >> 3) % 200}.1`, `name-${n}`, "wrong");
    }
  };
  await Promise.all(Array.from({ length: 12 }, lane));
  const seconds = (performance.now() - began) / 1_000;
  const failures = (await refusedLogins()) - failuresBefore;
  const writes = (await transactions()) - writesBefore;
  assert.ok(failures > 30, `only ${failures} failures`);
  // Per node: four writes of counters, four of bans, four of lockouts, and two heartbeats at most.
  assert.ok(writes <= 3 * 14 * (seconds + 1), `${writes} transactions in ${seconds} s of ${failures} failures`);
});
