import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe, it } from "node:test";
import type { Coordination, Lease } from "#coordination/contract.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination } from "#coordination/etcd.js";
import { monotonicMs } from "#lib/clock.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, type EtcdMember, startEtcd } from "../support/etcd.js";
import { killAll } from "../support/processes.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { applied, put } from "./backends.js";
import { Ledger } from "./ledger.js";

/** A call may be late by so much on a busy machine, milliseconds. */
const SLACK_MS = 1_000;
/** Election: a follower waits one to two election timeouts of 1 s, twice that where the two left split their votes. */
const ELECTION_MS = 6_000;

/** Times at which a lease was told to be out of use. */
function interruptions(lease: Lease): { count: number } {
  const seen = { count: 0 };
  lease.onUsableChange((usable) => {
    if (!usable) seen.count += 1;
  });
  return seen;
}

describe("coordination store on three etcd members, with faults", { concurrency: false }, () => {
  let etcd: EtcdCluster;
  const opened: Coordination[] = [];
  const open = (endpoints: readonly string[]) => {
    const store = createEtcdCoordination({ endpoints, site: randomUUID() });
    opened.push(store);
    return store;
  };
  /** All endpoints, this member's first: the one that a client talks to as long as it can. */
  const first = (member: EtcdMember) => [
    member.endpoint,
    ...etcd.endpoints.filter((endpoint) => endpoint !== member.endpoint),
  ];
  const leader = () => until("a member leads", () => etcd.leader(), { deadlineMs: ELECTION_MS * 2, everyMs: 100 });
  const follower = async () => {
    const leading = await leader();
    return etcd.members.find((member) => member !== leading) as EtcdMember;
  };
  /** Every member sees the others again, so that the next test starts from a whole cluster. */
  const whole = () =>
    until(
      "all three members are healthy",
      async () => {
        await etcd.ctl("endpoint", "health", "--command-timeout=2s");
        return true;
      },
      { deadlineMs: 20_000 },
    );

  before(async () => {
    etcd = await startEtcd({ members: 3 });
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
    for (const member of etcd.members) {
      if (member.pid < 0) await member.restart();
      else member.cont();
    }
    await whole();
  });
  after(async () => {
    await etcd?.stop();
    await killAll();
  });

  it("keeps its word while the leadership is moved under load", async (t) => {
    const store = open(etcd.endpoints);
    const ledger = new Ledger(store, 6, 2_000);
    t.after(() => ledger.stop());
    for (let round = 0; round < 4; round++) {
      await ledger.progress(80, 20_000);
      const target = await follower();
      const list = await etcd.ctl("member", "list");
      const id = new RegExp(`^([0-9a-f]+), started, ${target.name},`, "m").exec(list)?.[1];
      assert.ok(id, list);
      await etcd.ctl("move-leader", id);
    }
    await ledger.progress(80, 20_000);
    t.diagnostic(await ledger.settle());
  });

  it("keeps its word, and its lease, when the leader is killed and comes back", async (t) => {
    const store = open(etcd.endpoints);
    const lease = await store.lease();
    const created = applied(await store.transact({ compare: [], apply: [put("node", "", lease.id)] }));
    const ledger = new Ledger(store, 6, 2_000);
    t.after(() => ledger.stop());
    for (let round = 0; round < 2; round++) {
      await ledger.progress(80, 20_000);
      const dying = await leader();
      await dying.kill();
      const killedAt = monotonicMs();
      await ledger.progress(1, ELECTION_MS + 2_000);
      t.diagnostic(`served again ${Math.round(monotonicMs() - killedAt)} ms after the leader's death`);
      await dying.restart();
    }
    await ledger.progress(80, 20_000);
    t.diagnostic(await ledger.settle());
    assert.equal(lease.ended(), false);
    await until("the lease is in use", () => lease.usable(), { deadlineMs: 3_000 });
    assert.equal((await store.get("node"))?.createRevision, created);
  });

  it("moves away from a stopped member within two deadlines, and its lease is never out of use", async (t) => {
    const member = await follower();
    const store = open(first(member));
    const lease = await store.lease();
    const seen = interruptions(lease);
    applied(await store.transact({ compare: [], apply: [put("k", "", lease.id)] }));
    let resyncs = 0;
    store.watch("", (hint) => {
      if (hint.kind === "resync") resyncs += 1;
    });
    await until("the watch is in place", () => resyncs > 0, { deadlineMs: 5_000 });

    member.stop();
    const stoppedAt = monotonicMs();
    let failures = 0;
    await until(
      "a transaction succeeds",
      async () => {
        try {
          return (await store.transact({ compare: [], apply: [put("x")] })).applied;
        } catch (error) {
          failures += 1;
          throw error;
        }
      },
      { deadlineMs: 10_000 },
    );
    t.diagnostic(`a transaction succeeded after ${Math.round(monotonicMs() - stoppedAt)} ms and ${failures} failures`);
    assert.ok(failures <= 1, `${failures} transactions failed`);
    assert.ok(monotonicMs() - stoppedAt < 4_000 + SLACK_MS);
    // From here on nothing goes to the stopped one any more.
    for (let i = 0; i < 20; i++) {
      const startedAt = monotonicMs();
      applied(await store.transact({ compare: [], apply: [put("x", String(i))] }));
      assert.ok(await store.get("x"));
      assert.ok(monotonicMs() - startedAt < 1_000, "still slowed down");
    }
    await until("the watch has moved, too", () => resyncs > 1, { deadlineMs: 15_000 });
    // Past the time to live since the stop, whatever came before.
    await until("the lease has lived on for two lifetimes", () => monotonicMs() - stoppedAt > 6_000, {
      deadlineMs: 10_000,
    });
    assert.equal(seen.count, 0, "the lease was out of use for a moment");
    assert.equal(lease.ended(), false);
    member.cont();
    await until("it answers", () => store.get("k"), { deadlineMs: 5_000 });
  });

  it("answers a read within its deadline though the preferred member is black-holed", async (t) => {
    const member = await follower();
    const proxy = await TcpProxy.start(member.endpoint);
    try {
      const [, ...others] = first(member);
      const store = open([proxy.address, ...others]);
      const lease = await store.lease();
      const seen = interruptions(lease);
      applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
      proxy.stall();
      const startedAt = monotonicMs();
      assert.equal((await store.get("k"))?.value, "1");
      assert.equal((await store.list("")).entries.length, 1);
      t.diagnostic(`get and list took ${Math.round(monotonicMs() - startedAt)} ms`);
      const fresh = open([proxy.address, ...others]);
      assert.equal(await fresh.get("k"), undefined, "a client that starts now gets in, too");
      applied(await fresh.transact({ compare: [], apply: [put("k", "2")] }));
      await until("two lifetimes of the lease are over", () => monotonicMs() - startedAt > 6_000, {
        deadlineMs: 10_000,
      });
      assert.equal(seen.count, 0);
      assert.equal(lease.ended(), false);
    } finally {
      await proxy.close();
    }
  });

  it("keeps its lease through a stopped leader, and knows while it can't tell", async (t) => {
    const store = open(first(await leader()));
    const lease = await store.lease();
    const created = applied(await store.transact({ compare: [], apply: [put("node", "", lease.id)] }));
    const stopped = await leader();
    stopped.stop();
    const stoppedAt = monotonicMs();
    await until(
      "a new leader serves",
      async () => {
        return (await store.transact({ compare: [], apply: [put("x")] })).applied;
      },
      { deadlineMs: ELECTION_MS + 4_000 },
    );
    t.diagnostic(`a transaction succeeded ${Math.round(monotonicMs() - stoppedAt)} ms after the leader was stopped`);
    await until("the lease is in use again", () => lease.usable(), { deadlineMs: 5_000 });
    assert.equal(lease.ended(), false);
    // The former leader wakes up and thinks that it still leads, until it hears of the new one.
    stopped.cont();
    for (let i = 0; i < 10; i++) {
      const entry = await until("the key is read", () => store.get("node"), { deadlineMs: 5_000 });
      assert.equal(entry.createRevision, created);
    }
  });

  it("ends every call by its deadline without a quorum, and works again with it", async () => {
    const store = open(etcd.endpoints);
    applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
    const [one, two] = etcd.members as [EtcdMember, EtcdMember, EtcdMember];
    await Promise.all([one.kill(), two.kill()]);
    const errors: unknown[] = [];
    for (let i = 0; i < 4; i++) {
      const startedAt = monotonicMs();
      const results = await Promise.allSettled([
        store.transact({ compare: [], apply: [put("k", "2")] }, { deadlineMs: 1_000 }),
        store.get("k", { deadlineMs: 1_000 }),
        store.list("", { deadlineMs: 1_000 }),
      ]);
      assert.ok(monotonicMs() - startedAt < 1_000 + SLACK_MS);
      for (const [index, result] of results.entries()) {
        assert.equal(result.status, "rejected", "there is no quorum to answer");
        if (result.status !== "rejected") continue;
        errors.push(result.reason);
        const known = result.reason instanceof StoreUnavailableError;
        assert.ok(known || (index === 0 && result.reason instanceof OutcomeUnknownError), String(result.reason));
      }
    }
    await until(
      "the last member says that it has no leader",
      async () => {
        try {
          await store.transact({ compare: [], apply: [put("k", "3")] }, { deadlineMs: 1_000 });
        } catch (error) {
          return error instanceof StoreUnavailableError && /no leader/.test(error.message);
        }
        return false;
      },
      { deadlineMs: 10_000 },
    );
    await one.restart();
    await until("it works again", async () => (await store.transact({ compare: [], apply: [put("k", "4")] })).applied, {
      deadlineMs: ELECTION_MS,
    });
    assert.equal((await store.get("k"))?.value, "4");
  });
});
