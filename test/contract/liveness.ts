import assert from "node:assert/strict";
import { it } from "node:test";
import type { Coordination, WatchHint } from "#coordination/contract.js";
import { LeaseGoneError } from "#coordination/errors.js";
import { monotonicMs } from "#lib/clock.js";
import { until } from "#lib/testing.js";
import { applied, put, refused } from "./backends.js";

/** Holds the event loop, as a long garbage collection or a stopped process would. */
function holdEventLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** The part of the coordination suite that is about time: leases and watches. */
export function livenessTests(
  open: () => Promise<Coordination>,
  reopen: (store: Coordination) => Promise<Coordination>,
): void {
  it("removes a lease's keys on release, says so once, and takes no more puts on it", async () => {
    const store = await open();
    const lease = await store.lease();
    const other = await store.lease();
    let ends = 0;
    const usable: boolean[] = [];
    lease.onEnded(() => ends++);
    lease.onUsableChange((now) => usable.push(now));
    assert.deepEqual([lease.usable(), lease.ended(), lease.ttlMs], [true, false, 3_000]);
    const apply = [put("n/1", "", lease.id), put("n/2", "", lease.id), put("n/3", "", other.id), put("n/4")];
    applied(await store.transact({ compare: [], apply }));
    assert.equal((await store.get("n/1"))?.lease, lease.id);
    assert.equal((await store.get("n/4"))?.lease, undefined);
    // A put without the lease takes the key off it.
    applied(await store.transact({ compare: [], apply: [put("n/2", "stays")] }));
    await Promise.all([lease.release(), lease.release()]);
    await lease.release();
    assert.deepEqual([lease.usable(), lease.ended(), ends, usable], [false, true, 1, [false]]);
    assert.deepEqual(
      (await store.list("n/")).entries.map((entry) => entry.key),
      ["n/2", "n/3", "n/4"],
    );
    const late = { compare: [{ key: "n/4", is: "absent" } as const], apply: [put("n/5"), put("n/6", "", lease.id)] };
    assert.equal(refused(await store.transact(late)).length, 1, "the compares come before the lease");
    await assert.rejects(store.transact({ ...late, compare: [] }), LeaseGoneError);
    assert.equal(await store.get("n/5"), undefined);
    await assert.rejects(store.transact({ compare: [], apply: [put("n/7", "", "123456789")] }), LeaseGoneError);
    let late2 = 0;
    lease.onEnded(() => late2++);
    await until("a late listener hears of the end", () => late2 === 1, { deadlineMs: 1_000 });
  });

  it("keeps a lease alive past its time to live", async () => {
    const store = await open();
    const lease = await store.lease({ ttlMs: 2_000, keepAliveMs: 400 });
    const revision = applied(await store.transact({ compare: [], apply: [put("alive", "", lease.id)] }));
    const end = monotonicMs() + 4_500;
    await until(
      "more than two lifetimes are over",
      () => {
        assert.ok(lease.usable(), "the lease went out of use");
        return monotonicMs() > end;
      },
      { deadlineMs: 6_000 },
    );
    assert.equal((await store.get("alive"))?.createRevision, revision);
  });

  it("knows at once after a pause of the process that its lease may not be used, and recovers it", async () => {
    const store = await open();
    const lease = await store.lease({ ttlMs: 5_000, keepAliveMs: 250, stopAfterMs: 900 });
    const changes: boolean[] = [];
    lease.onUsableChange((usable) => changes.push(usable));
    assert.ok(lease.usable());
    holdEventLoop(1_000);
    assert.equal(lease.usable(), false, "no timer has run yet");
    await until("the next keep-alive is answered", () => lease.usable(), { deadlineMs: 3_000 });
    assert.equal(lease.ended(), false);
    await until("both changes were told", () => changes.length === 2, { deadlineMs: 1_000 });
    assert.deepEqual(changes, [false, true]);
  });

  it("is over for a process that slept past the time to live", async () => {
    const store = await open();
    const lease = await store.lease({ ttlMs: 2_000, keepAliveMs: 300 });
    let ended = false;
    lease.onEnded(() => {
      ended = true;
    });
    const created = applied(await store.transact({ compare: [], apply: [put("slept", "", lease.id)] }));
    holdEventLoop(4_000);
    assert.equal(lease.usable(), false);
    const fenced = { compare: [{ key: "slept", is: "created-at", revision: created } as const], apply: [put("done")] };
    assert.deepEqual(refused(await store.transact(fenced)), [[]]);
    await until("it hears that its lease is gone", () => lease.ended() && ended, { deadlineMs: 3_000 });
    assert.equal(await store.get("done"), undefined);
  });

  it("lets the keys of a dead client run out, which knows before", async () => {
    const store = await open();
    const lease = await store.lease({ ttlMs: 2_000, keepAliveMs: 300 });
    applied(await store.transact({ compare: [], apply: [put("dead", "", lease.id), put("stays")] }));
    const next = await reopen(store);
    await until(
      "the key is gone",
      async () => {
        // Asked before the read: what is gone then was gone no earlier than this.
        const usable = lease.usable();
        const gone = (await next.get("dead")) === undefined;
        assert.ok(!(gone && usable), "the holder still believed in its lease");
        return gone;
      },
      { deadlineMs: 8_000 },
    );
    await until("the former holder stops by its own clock", () => !lease.usable(), { deadlineMs: 2_000 });
    assert.ok(await next.get("stays"));
    await assert.rejects(next.transact({ compare: [], apply: [put("dead", "", lease.id)] }), LeaseGoneError);
  });

  it("hints at every change below the watched prefix and at nothing else", async () => {
    const store = await open();
    const hints: WatchHint[] = [];
    applied(await store.transact({ compare: [], apply: [put("w/old")] }));
    const watch = store.watch("w/", (hint) => hints.push(hint));
    await until("the first hint", () => hints.length > 0, { deadlineMs: 3_000 });
    assert.deepEqual(hints, [{ kind: "resync" }]);
    const seen = async (key: string, revision: number) => {
      await until(
        `a hint at ${key}`,
        () => hints.some((hint) => hint.kind === "changed" && hint.keys.includes(key) && hint.revision === revision),
        { deadlineMs: 3_000 },
      );
    };
    const lease = await store.lease();
    applied(await store.transact({ compare: [], apply: [put("v"), put("w"), put("w0")] }));
    await seen(
      "w/a",
      applied(await store.transact({ compare: [], apply: [put("w/a", "1"), put("x"), put("w/l", "", lease.id)] })),
    );
    await seen("w/a", applied(await store.transact({ compare: [], apply: [put("w/a", "2")] })));
    await seen("w/old", applied(await store.transact({ compare: [], apply: [{ deletePrefix: "w/o" }] })));
    await lease.release();
    await seen("w/l", (await store.list("")).revision);
    const strange = hints
      .flatMap((hint) => (hint.kind === "changed" ? hint.keys : []))
      .filter((key) => !key.startsWith("w/"));
    assert.deepEqual(strange, []);

    const second: WatchHint[] = [];
    const other = store.watch("w/", (hint) => {
      second.push(hint);
      throw new Error("a listener's mistake");
    });
    await until("the other watch is there", () => second.length > 0, { deadlineMs: 3_000 });
    watch.close();
    watch.close();
    const before = hints.length;
    applied(await store.transact({ compare: [], apply: [put("w/b")] }));
    await until("the other watch, despite its listener", () => second.length > 1, { deadlineMs: 3_000 });
    assert.equal(hints.length, before, "no hint after close()");
    other.close();
  });

  it("lets a follower that lists on each hint end with what the store has", async () => {
    const store = await open();
    const view = new Map<string, string>();
    let shown = 0;
    let busy = Promise.resolve();
    const watch = store.watch("f/", () => {
      busy = busy.then(async () => {
        const { entries, revision } = await store.list("f/");
        if (revision < shown) return;
        shown = revision;
        view.clear();
        for (const entry of entries) view.set(entry.key, entry.value);
      });
    });
    let last = 0;
    for (let i = 0; i < 60; i++) {
      const apply = i % 7 === 6 ? [{ delete: `f/${i % 5}` }, put("f/n", String(i))] : [put(`f/${i % 5}`, String(i))];
      last = applied(await store.transact({ compare: [], apply }));
    }
    await until("the follower is as far as the writer", () => shown >= last, { deadlineMs: 3_000 });
    watch.close();
    await busy;
    const truth = (await store.list("f/")).entries.map((entry) => [entry.key, entry.value] as const);
    assert.deepEqual([...view], truth);
  });
}
