import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { Coordination, WatchHint } from "#coordination/contract.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { isCode } from "#lib/errors.js";
import { applied, type Backend, EmbeddedBackend, EtcdBackend, put, refused } from "./backends.js";
import { livenessTests } from "./liveness.js";

function suite(name: string, backend: Backend): void {
  describe(`coordination store: ${name}`, { concurrency: false }, () => {
    const opened: Coordination[] = [];
    const open = async () => {
      const store = await backend.open();
      opened.push(store);
      return store;
    };
    const reopen = async (store: Coordination) => {
      const again = await backend.reopen(store);
      opened.push(again);
      return again;
    };

    before(() => backend.start());
    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });
    after(() => backend.stop());

    it("reads what a transaction wrote, byte for byte", async () => {
      const store = await open();
      assert.equal(await store.get("nobody"), undefined);
      const value = 'naïve "日本" 🚢 \u0000 end';
      const revision = applied(await store.transact({ compare: [], apply: [put("ünïcode/🚢", value), put("empty")] }));
      assert.deepEqual(await store.get("ünïcode/🚢"), {
        key: "ünïcode/🚢",
        value,
        createRevision: revision,
        modRevision: revision,
      });
      assert.equal((await store.get("empty"))?.value, "");
    });

    it("applies on `absent` while the key is, and says what it met afterwards", async () => {
      const store = await open();
      const create = { compare: [{ key: "k", is: "absent" } as const], apply: [put("k", "mine")] };
      applied(await store.transact(create));
      const [met] = refused(await store.transact({ ...create, apply: [put("k", "theirs")] }));
      assert.deepEqual(met, [await store.get("k")]);
      assert.equal((await store.get("k"))?.value, "mine");
    });

    it("applies on `modified-at` only at the last change's revision", async () => {
      const store = await open();
      const first = applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
      const swap = (revision: number, value: string) =>
        store.transact({ compare: [{ key: "k", is: "modified-at", revision }], apply: [put("k", value)] });
      const second = applied(await swap(first, "2"));
      assert.ok(second > first);
      const [met] = refused(await swap(first, "3"));
      assert.deepEqual(met?.[0], { key: "k", value: "2", createRevision: first, modRevision: second });
      assert.deepEqual(
        refused(await store.transact({ compare: [{ key: "x", is: "modified-at", revision: first }], apply: [] })),
        [[]],
      );
    });

    it("applies on `created-at` through changes, and no more once the key was made anew", async () => {
      const store = await open();
      const created = applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
      const fenced = { compare: [{ key: "k", is: "created-at", revision: created } as const], apply: [put("x", "")] };
      applied(await store.transact({ compare: [], apply: [put("k", "2")] }));
      applied(await store.transact(fenced));
      applied(await store.transact({ compare: [], apply: [{ delete: "k" }] }));
      assert.deepEqual(refused(await store.transact(fenced)), [[]]);
      const again = applied(await store.transact({ compare: [], apply: [put("k", "3")] }));
      const [met] = refused(await store.transact(fenced));
      assert.equal(met?.[0]?.createRevision, again);
    });

    it("applies on `empty` only while no key has the prefix, and shows at most one that has", async () => {
      const store = await open();
      const claim = { compare: [{ prefix: "d/", is: "empty" } as const], apply: [put("e", "")] };
      applied(await store.transact({ compare: [], apply: [put("d", ""), put("d0", "")] }));
      applied(await store.transact(claim));
      applied(await store.transact({ compare: [], apply: [put("d/b", ""), put("d/a", "")] }));
      const [met] = refused(await store.transact(claim));
      assert.deepEqual(
        met?.map((entry) => entry.key),
        ["d/a"],
      );
    });

    it("applies nothing where one compare of several fails, and finds for each compare its own entries", async () => {
      const store = await open();
      const revision = applied(await store.transact({ compare: [], apply: [put("a", "A"), put("p/1", "P")] }));
      const found = refused(
        await store.transact({
          compare: [
            { key: "a", is: "modified-at", revision },
            { key: "gone", is: "absent" },
            { prefix: "p/", is: "empty" },
            { key: "a", is: "created-at", revision: revision + 1_000 },
          ],
          apply: [put("new", ""), { delete: "a" }, { deletePrefix: "p/" }],
        }),
      );
      assert.deepEqual(
        found.map((entries) => entries.map((entry) => entry.value)),
        [["A"], [], ["P"], ["A"]],
      );
      assert.equal(await store.get("new"), undefined);
      assert.equal((await store.list("")).entries.length, 2);
    });

    it("deletes one key, or all of a prefix and nothing beside it", async () => {
      const store = await open();
      const names = ["d", "d/", "d/a", "d/b/c", "d0", "e/a"];
      applied(await store.transact({ compare: [], apply: names.map((one) => put(one)) }));
      applied(
        await store.transact({ compare: [], apply: [{ deletePrefix: "d/" }, { delete: "e/a" }, { delete: "e/none" }] }),
      );
      const left = (await store.list("")).entries.map((entry) => entry.key);
      assert.deepEqual(left, ["d", "d0"]);
    });

    it("gives each changing transaction one revision, and none to one that changes nothing", async () => {
      const store = await open();
      const first = applied(await store.transact({ compare: [], apply: [put("a"), put("b"), put("c")] }));
      const entries = (await store.list("")).entries;
      assert.ok(entries.every((entry) => entry.modRevision === first && entry.createRevision === first));
      const second = applied(await store.transact({ compare: [], apply: [put("a", "2"), { delete: "b" }] }));
      assert.equal(second, first + 1);
      assert.equal(applied(await store.transact({ compare: [], apply: [{ delete: "b" }] })), second);
      assert.equal(applied(await store.transact({ compare: [], apply: [] })), second);
      assert.equal((await store.list("")).revision, second);
      const result = await store.transact({ compare: [{ key: "a", is: "absent" }], apply: [put("a")] });
      assert.deepEqual([result.applied, result.revision], [false, second]);
    });

    it("goes on from the same revision for the next client", async () => {
      const store = await open();
      const revision = applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
      const next = await reopen(store);
      assert.deepEqual(await next.get("k"), { key: "k", value: "1", createRevision: revision, modRevision: revision });
      assert.equal(applied(await next.transact({ compare: [], apply: [put("k", "2")] })), revision + 1);
    });

    it("lists in the order of the keys' bytes, with limit and keys only", async () => {
      const store = await open();
      // 🚢 is behind ｚ (U+FF5A) in bytes, but before it in JavaScript's order of strings.
      const names = ["l/ｚ", "l/🚢", "l/b", "l/B", "l/", "l/a/b", "l/a!", "l/é"];
      applied(await store.transact({ compare: [], apply: names.map((one) => put(one, "value")) }));
      const byBytes = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const all = await store.list("l/");
      assert.deepEqual(
        all.entries.map((entry) => entry.key),
        byBytes,
      );
      assert.ok(all.entries.every((entry) => entry.value === "value"));
      const some = await store.list("l/", { limit: 3, keysOnly: true });
      assert.deepEqual(
        some.entries.map((entry) => [entry.key, entry.value]),
        byBytes.slice(0, 3).map((key) => [key, ""]),
      );
      assert.deepEqual((await store.list("m/")).entries, []);
    });

    it("lists what was changed since a revision, and how many there are in all", async () => {
      const store = await open();
      const names = Array.from({ length: 600 }, (_, i) => `since/${i}`);
      const since = applied(await store.transact({ compare: [], apply: names.map((one) => put(one, "old")) }));
      applied(await store.transact({ compare: [], apply: [put("since/7", "new"), put("since/more"), put("else")] }));
      applied(await store.transact({ compare: [], apply: [{ delete: "since/8" }] }));
      const changed = await store.list("since/", { changedSince: since });
      assert.deepEqual(
        changed.entries.map((entry) => [entry.key, entry.value]),
        [
          ["since/7", "new"],
          ["since/more", ""],
        ],
      );
      assert.equal(changed.total, 600);
      const none = await store.list("since/", { changedSince: changed.revision });
      assert.deepEqual([none.entries.length, none.total, none.revision], [0, 600, changed.revision]);
      assert.equal((await store.list("since/", { changedSince: since - 1 })).entries.length, 600);
      assert.equal((await store.list("since/")).total, undefined);
    });

    it("keeps keys of 4,096 bytes apart and in order", async () => {
      const store = await open();
      const stem = `names/s/${"ä".repeat(2_040)}`;
      const names = [`${stem}/b`, `${stem}/a`, stem, stem.slice(0, 1_500), `${stem.slice(0, 950)}zz`];
      applied(await store.transact({ compare: [], apply: names.map((one) => put(one, one.slice(-3))) }));
      const byBytes = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      for (const limit of [1, 2, 3, 4, 5]) {
        const keys = (await store.list("names/", { limit })).entries.map((entry) => entry.key);
        assert.deepEqual(keys, byBytes.slice(0, limit));
      }
      assert.equal((await store.list(`${stem}/`)).entries.length, 2);
      assert.equal((await store.get(`${stem}/b`))?.value, `${stem}/b`.slice(-3));
      assert.equal(
        refused(await store.transact({ compare: [{ prefix: `${stem}/`, is: "empty" }], apply: [] })).length,
        1,
      );
      applied(await store.transact({ compare: [], apply: [{ deletePrefix: `${stem}/` }] }));
      assert.equal((await store.list("names/")).entries.length, 3);
    });

    it("shows many pages at one revision while a writer goes on", async () => {
      const store = await open();
      const COUNT = 1_500;
      const keyAt = (i: number) => `many/${String(i).padStart(5, "0")}`;
      for (let i = 0; i < COUNT; i += 500) {
        const apply = Array.from({ length: 500 }, (_, k) => put(keyAt(i + k), "0"));
        applied(await store.transact({ compare: [], apply }));
      }
      let writing = true;
      const writer = (async () => {
        // First and last entry change together: a listing that shows two values is of no one moment.
        for (let n = 1; writing; n++) {
          const apply = [put(keyAt(0), String(n)), put(keyAt(COUNT - 1), String(n))];
          applied(await store.transact({ compare: [], apply }));
        }
      })();
      try {
        for (let round = 0; round < 15; round++) {
          const { entries, revision } = await store.list("many/");
          assert.equal(entries.length, COUNT);
          assert.equal(entries[0]?.value, entries.at(-1)?.value);
          assert.ok(entries.every((entry) => entry.modRevision <= revision));
        }
      } finally {
        writing = false;
        await writer;
      }
    });

    it("carries a transaction of the full number of compares and operations, and refuses one more", async () => {
      const store = await open();
      const names = Array.from({ length: store.maxOperations }, (_, i) => `full/${i}`);
      const compare = names.map((key) => ({ key, is: "absent" }) as const);
      applied(await store.transact({ compare, apply: names.map((one) => put(one, one)) }));
      const found = refused(await store.transact({ compare, apply: [] }));
      assert.deepEqual(
        found.map((entries) => entries[0]?.value),
        names,
      );
      const oneMore = [...names, "full/more"].map((one) => put(one));
      await assert.rejects(store.transact({ compare: [], apply: oneMore }), (error) => isCode(error, "limit"));
      assert.equal(await store.get("full/more"), undefined);
    });

    it("carries values of 256 KiB, and refuses a transaction past its bytes before sending it", async () => {
      const store = await open();
      const value = "é".repeat(128 * 1024);
      applied(await store.transact({ compare: [], apply: [put("b/1", value), put("b/2", value), put("b/3", value)] }));
      const { entries } = await store.list("b/");
      assert.ok(entries.length === 3 && entries.every((entry) => entry.value === value));
      const found = refused(await store.transact({ compare: [{ key: "b/1", is: "absent" }], apply: [] }));
      assert.equal(found[0]?.[0]?.value, value);
      const tooMuch = Array.from({ length: 6 }, (_, i) => put(`b/x${i}`, value));
      await assert.rejects(store.transact({ compare: [], apply: tooMuch }), (error) => isCode(error, "limit"));
    });

    it("refuses what has no meaning, in the same words on every backend", async () => {
      const store = await open();
      const invalid = (error: unknown) => isCode(error, "invalid-argument");
      const refuse = (...apply: Parameters<Coordination["transact"]>[0]["apply"]) =>
        assert.rejects(store.transact({ compare: [], apply }), invalid);
      await refuse(put("a"), put("a"));
      await refuse(put("a"), { delete: "a" });
      await refuse({ deletePrefix: "a/" }, put("a/b"));
      await refuse(put(""));
      await refuse(put("\ud800"));
      await assert.rejects(store.get(""), invalid);
      await assert.rejects(store.list("", { limit: 0 }), invalid);
      await assert.rejects(store.list("", { changedSince: -1 }), invalid);
      await assert.rejects(store.list("", { changedSince: 1, limit: 1 }), invalid);
      const zero = { key: "a", is: "modified-at", revision: 0 } as const;
      await assert.rejects(store.transact({ compare: [zero], apply: [] }), invalid);
      await assert.rejects(store.lease({ ttlMs: 1_000 }), invalid);
      await assert.rejects(store.lease({ ttlMs: 3_000, stopAfterMs: 3_000 }), invalid);
    });

    it("loses no update of concurrent compare-and-swap counters", async () => {
      const store = await open();
      const increment = async (key: string) => {
        for (;;) {
          const entry = await store.get(key);
          const compare = entry
            ? ({ key, is: "modified-at", revision: entry.modRevision } as const)
            : ({ key, is: "absent" } as const);
          const result = await store.transact({
            compare: [compare],
            apply: [put(key, String(Number(entry?.value ?? 0) + 1))],
          });
          if (result.applied) return;
        }
      };
      const WORKERS = 6;
      const EACH = 20;
      await Promise.all(
        Array.from({ length: WORKERS }, async () => {
          for (let i = 0; i < EACH; i++) await Promise.all([increment("one"), increment("other")]);
        }),
      );
      assert.equal((await store.get("one"))?.value, String(WORKERS * EACH));
      assert.equal((await store.get("other"))?.value, String(WORKERS * EACH));
    });

    livenessTests(open, reopen);

    it("ends calls in flight and refuses new ones once it is closed", async () => {
      const store = await open();
      applied(await store.transact({ compare: [], apply: [put("k")] }));
      const hints: WatchHint[] = [];
      store.watch("", (hint) => hints.push(hint));
      const inFlight = Promise.allSettled(
        Array.from({ length: 20 }, (_, i) => store.transact({ compare: [], apply: [put(`k/${i}`)] })),
      );
      await Promise.all([store.close(), store.close()]);
      for (const outcome of await inFlight) {
        if (outcome.status === "fulfilled") continue;
        const { reason } = outcome;
        assert.ok(reason instanceof OutcomeUnknownError || reason instanceof StoreUnavailableError, String(reason));
      }
      const before = hints.length;
      await assert.rejects(store.get("k"), StoreUnavailableError);
      await assert.rejects(store.list(""), StoreUnavailableError);
      await assert.rejects(store.transact({ compare: [], apply: [put("k")] }), StoreUnavailableError);
      await assert.rejects(store.lease(), StoreUnavailableError);
      assert.equal(hints.length, before);
    });
  });
}

suite("etcd", new EtcdBackend());
suite("embedded", new EmbeddedBackend());
