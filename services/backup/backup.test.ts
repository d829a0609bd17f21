import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bootstrap } from "#config/bootstrap.js";
import { decodeConfig } from "#config/snapshot.js";
import { writeConfig } from "#config/write.js";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { StoreUnavailableError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import { type KeyRing, open, seal, sealKey } from "#lib/seal.js";
import { applyEntries, finishApplying } from "./apply.js";
import { PARTS, pack, unpack } from "./archive.js";
import { createBackups } from "./backup.js";
import type { Item } from "./contents.js";
import { BackupError, ClusterKeyNeededError } from "./errors.js";

/** Backup and restore on real embedded stores. */

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const root = mkdtempSync(join(tmpdir(), "longshore-backup-"));
const stores: Coordination[] = [];
const awake = setInterval(() => {}, 1_000);
after(async () => {
  clearInterval(awake);
  for (const store of stores) await store.close();
  rmSync(root, { recursive: true, force: true });
});

interface Bench {
  readonly store: Coordination;
  readonly ring: KeyRing;
  readonly backups: ReturnType<typeof createBackups>;
}

async function newSite(ring: KeyRing = [sealKey(randomBytes(32))]): Promise<Bench> {
  const store = createEmbeddedCoordination({ directory: join(root, String(stores.length)) });
  stores.push(store);
  await bootstrap({ coordination: store, clusterKey: ring, siteName: "test", logger: silent });
  return { store, ring, backups: backupsOf(store, ring) };
}

/** As a new one with the same host keys: making keys takes most of a test's time. */
async function copyOf({ store: from, ring }: Bench): Promise<Bench> {
  const store = createEmbeddedCoordination({ directory: join(root, String(stores.length)) });
  stores.push(store);
  await writeConfig(
    store,
    [],
    [...(await contents(from))].map(([key, value]) => ({ put: key, value })),
  );
  return { store, ring, backups: backupsOf(store, ring) };
}

function backupsOf(store: Coordination, ring: KeyRing) {
  const node = { name: "node-1", id: "0f8e7d6c-1111-4222-8333-444455556666", settings: '{"name":"node-1"}' };
  return createBackups({ coordination: store, clusterKey: ring, node, software: "test" });
}

async function put(store: Coordination, key: string, value: unknown): Promise<void> {
  await writeConfig(store, [], [{ put: key, value: JSON.stringify(value) }], { record: false });
}

async function contents(store: Coordination): Promise<Map<string, string>> {
  const { entries } = await store.list("config/");
  return new Map(entries.filter(({ key }) => key !== keys.configHead).map(({ key, value }) => [key, value]));
}

const LIVE = { dryRun: false, adoptStorage: false };

test("a backup brings its own site back: what was added goes, what was removed and changed is as it was", async () => {
  const { store, backups } = await newSite();
  await put(store, keys.account("ann"), { name: "ann" });
  await put(store, keys.account("bob"), { name: "bob" });
  await store.transact({ compare: [], apply: [{ put: "security/bans/192.0.2.1", value: "{}" }] });
  await store.transact({ compare: [], apply: [{ put: "security/counters/node", value: "passing" }] });
  await store.transact({ compare: [], apply: [{ put: "ops/x", value: "in flight" }] });
  const before = await contents(store);
  const { archive, facts } = await backups.make("shared");
  assert.equal(facts.entries, before.size + 1);

  await put(store, keys.account("eve"), { name: "eve" });
  await put(store, keys.account("bob"), { name: "bob", enabled: false });
  await store.transact({
    compare: [],
    apply: [{ delete: keys.account("ann") }, { delete: "security/bans/192.0.2.1" }],
  });
  const annless = await store.get(keys.site);
  const dry = await backups.restore(archive, { ...LIVE, dryRun: true });
  assert.deepEqual(
    { added: dry.difference.added, changed: dry.difference.changed, removed: dry.difference.removed },
    {
      added: [keys.account("ann"), "security/bans/192.0.2.1"],
      changed: [keys.account("bob")],
      removed: [keys.account("eve")],
    },
  );
  assert.ok((await contents(store)).has(keys.account("eve")), "a dry run changes nothing");
  await backups.restore(archive, LIVE);
  assert.deepEqual(await contents(store), before);
  assert.ok((await store.get("security/bans/192.0.2.1")) !== undefined);
  assert.equal((await store.get("ops/x"))?.value, "in flight", "what is under way isn't touched");
  assert.equal((await store.get("security/counters/node"))?.value, "passing");
  assert.equal((await store.get(keys.site))?.modRevision, annless?.modRevision, "an equal entry isn't written");
  const again = await backups.restore(archive, LIVE);
  assert.equal(again.difference.operations.length, 0, "a second restore has nothing to do");
});

test("what tells of the past comes along and is only added to: use, last logins not merged yet, notices sent", async () => {
  const from = await newSite();
  const told = new Map([
    [keys.life("ann"), '{"since":1,"lastLogin":5}'],
    [keys.activity("0f8e7d6c-1111-4222-8333-444455556666"), '{"ann":6}'],
    [keys.notice("ann", "expiry", "2027-01-31", 7), '{"state":"sent"}'],
  ]);
  const apply = [...told].map(([key, value]) => ({ put: key, value }));
  await from.store.transact({ compare: [], apply });
  const { archive } = await from.backups.make("shared");
  const to = await copyOf(from);
  await to.store.transact({ compare: [], apply: [{ put: keys.life("ann"), value: '{"since":1,"lastLogin":9}' }] });
  await to.store.transact({ compare: [], apply: [{ put: keys.notice("bob", "idle", "2027-02-01", 1), value: "{}" }] });
  await to.backups.restore(archive, LIVE);
  const value = async (key: string) => (await to.store.get(key))?.value;
  for (const [key, before] of told) {
    assert.equal(await value(key), key === keys.life("ann") ? '{"since":1,"lastLogin":9}' : before, key);
  }
  assert.equal(await value(keys.notice("bob", "idle", "2027-02-01", 1)), "{}");
});

test("where the audit logs stood comes along for the same site's storage, and for no other", async () => {
  const from = await newSite();
  const key = keys.auditAnchor("0f8e7d6c-1111-4222-8333-444455556666");
  await from.store.transact({ compare: [], apply: [{ put: key, value: '{"seq":5}' }] });
  const { archive } = await from.backups.make("shared");
  const [same, fresh, adopting] = [await copyOf(from), await newSite(from.ring), await newSite(from.ring)];
  await same.backups.restore(archive, LIVE);
  assert.equal((await same.store.get(key))?.value, '{"seq":5}');
  await fresh.backups.restore(archive, LIVE);
  assert.equal(await fresh.store.get(key), undefined);
  await adopting.backups.restore(archive, { dryRun: false, adoptStorage: true });
  assert.equal((await adopting.store.get(key))?.value, '{"seq":5}');
});

test("onto a fresh site with another cluster key: refused without the backup's own, resealed with it; the site's id stays", async () => {
  const from = await newSite();
  const secret = `${keys.configPrefix}profiles/remote`;
  const profile = (sealed: string) => ({
    id: "remote",
    protocol: "sftp",
    host: "remote.example",
    user: "us",
    sealed,
    hostKeys: [`SHA256:${"A".repeat(43)}`],
  });
  await put(from.store, secret, profile(seal("hunter2", from.ring, secret)));
  const past = { replaced: [{ key: secret, before: JSON.stringify(profile(seal("old", from.ring, secret))) }] };
  await from.store.transact({ compare: [], apply: [{ put: "config-history/1", value: JSON.stringify(past) }] });
  const { archive } = await from.backups.make("both");
  const to = await newSite();
  const before = await contents(to.store);
  await assert.rejects(to.backups.restore(archive, LIVE), ClusterKeyNeededError);
  assert.deepEqual(await contents(to.store), before, "nothing was touched");

  const whole = await unpack(archive);
  const line = Buffer.from(`${from.ring[0].bytes.toString("base64")}\n`);
  const withKey = await pack({ ...whole, parts: new Map([...whole.parts, [PARTS.clusterKey, line]]) });
  await to.backups.restore(withKey, LIVE);
  const restored = await to.store.get(secret);
  const { sealed } = JSON.parse(restored?.value ?? "{}") as { sealed: string };
  assert.equal(open(sealed, to.ring, secret).toString(), "hunter2");
  const history = JSON.parse((await to.store.get("config-history/1"))?.value ?? "{}") as typeof past;
  const older = JSON.parse(history.replaced[0]?.before ?? "{}") as { sealed: string };
  assert.equal(open(older.sealed, to.ring, secret).toString(), "old", "secrets of the past, too");
  const listing = await to.store.list("config/");
  const decoded = decodeConfig(listing.entries, to.ring);
  const original = decodeConfig((await from.store.list("config/")).entries, from.ring);
  assert.ok(decoded.valid && original.valid);
  assert.deepEqual(decoded.snapshot.hostKeys, original.snapshot.hostKeys, "partners see the same host keys");
  assert.notEqual(decoded.snapshot.site.id, original.snapshot.site.id, "the storage knows the site by its own id");
});

test("the backup's site id is taken on demand, while no storage is in use", async () => {
  const from = await newSite();
  const { archive } = await from.backups.make("shared");
  const to = await newSite(from.ring);
  await to.backups.restore(archive, { dryRun: false, adoptStorage: true });
  assert.equal((await to.store.get(keys.site))?.value, (await from.store.get(keys.site))?.value);
  await to.store.transact({ compare: [], apply: [{ put: keys.storeUsed("main"), value: "{}" }] });
  await assert.rejects(to.backups.restore(archive, { dryRun: false, adoptStorage: true }), /use a storage already/);
});

test("what doesn't fit, isn't valid, or isn't a backup's, is refused and nothing is touched", async () => {
  const { store, backups } = await newSite();
  const before = await contents(store);
  const whole = await unpack((await backups.make("shared")).archive);
  const entries = whole.parts.get(PARTS.entries)?.toString() ?? "";
  const withEntries = (text: string) =>
    pack({ ...whole, parts: new Map([[PARTS.entries, Buffer.from(text)] as const]) });
  const account = (value: unknown) => `${JSON.stringify(["config/accounts/ann", JSON.stringify(value)])}\n`;
  const refused: readonly [Buffer, RegExp][] = [
    [await withEntries(entries + account({ name: "ann", home: "../x" })), /isn't valid.*home/],
    [await withEntries(entries + account({ name: "ann", shell: "/bin/sh" })), /isn't valid.*accounts\/ann/],
    [await withEntries(""), /config\/site.*is missing/],
    [await withEntries(`${entries}["ops/x","{}"]\n`), /nothing that a backup holds/],
    [await withEntries(`${entries}["config/head","{}"]\n`), /nothing that a backup holds/],
    [await withEntries(entries + account({ name: "ann" }) + account({ name: "ann" })), /twice/],
    [await withEntries(entries.slice(0, -1)), /no end/],
    [(await backups.make("node")).archive, /no shared data/],
    [randomBytes(2_000), /.*/],
  ];
  for (const [archive, why] of refused) {
    await assert.rejects(backups.restore(archive, LIVE), (error) => {
      assert.ok(error instanceof BackupError, String(error));
      assert.match(error.message, why);
      return true;
    });
  }
  assert.deepEqual(await contents(store), before);
});

test("an archive whose manifest doesn't fit its parts is refused", async () => {
  const { backups } = await newSite();
  const { archive } = await backups.make("both");
  const text = archive.toString("latin1");
  const node = Buffer.from(
    text.replace("0f8e7d6c-1111-4222-8333-444455556666\n", "0f8e7d6c-1111-4222-8333-444455556667\n"),
    "latin1",
  );
  await assert.rejects(unpack(node), /node-id isn't what the backup's manifest says/);
  await assert.rejects(unpack(Buffer.from(text.replace('"version": 1', '"version": 2'), "latin1")), /version/);
});

/** A store whose client dies (from then on it can do nothing) right before or right after its nth transaction. */
function dying(store: Coordination, nth: number, when: "before" | "after"): Coordination {
  let count = 0;
  let dead = false;
  const die = () => {
    dead = true;
    throw new StoreUnavailableError("died");
  };
  return {
    get: async (key) => (dead ? die() : await store.get(key)) as Awaited<ReturnType<Coordination["get"]>>,
    list: async (prefix, options) =>
      (dead ? die() : await store.list(prefix, options)) as Awaited<ReturnType<Coordination["list"]>>,
    async transact(transaction, options) {
      if (dead) die();
      count++;
      if (count === nth && when === "before") die();
      const result = await store.transact(transaction, options);
      if (count === nth) die();
      return result;
    },
    lease: (options) => store.lease(options),
    watch: (prefix, hint) => store.watch(prefix, hint),
    maxOperations: store.maxOperations,
    close: () => store.close(),
  };
}

test("past one transaction: whenever it dies, nodes see the old configuration or the new one whole, and anybody finishes it", async () => {
  const MOST = { operations: 4, bytes: 1_000_000 };
  const names = Array.from({ length: 11 }, (_, at) => `a${at}`);
  const template = await newSite();
  let finished = 0;
  let undone = 0;
  for (const when of ["before", "after"] as const) {
    for (let nth = 1; ; nth++) {
      const { store, ring } = await copyOf(template);
      await put(store, keys.account("old"), { name: "old" });
      const old = [...(await contents(store)).keys()].sort();
      const kept: Item[] = [...(await contents(store))].filter(([key]) => key !== keys.account("old"));
      const target: Item[] = [...kept, ...names.map((name): Item => [keys.account(name), JSON.stringify({ name })])];
      const wanted = target.map(([key]) => key).sort();
      let died = true;
      try {
        await applyEntries(dying(store, nth, when), target, { most: MOST });
        died = false;
      } catch (error) {
        assert.ok(error instanceof StoreUnavailableError, String(error));
      }
      const { entries } = await store.list("config/");
      const isApplying = entries.some(({ key }) => key === keys.configApplying);
      const seen = [...(await contents(store)).keys()].sort();
      if (isApplying) {
        await assert.rejects(
          put(store, keys.account("eve"), { name: "eve" }),
          /whole site/,
          "nobody writes in between",
        );
        await finishApplying(store, MOST);
        finished++;
        assert.deepEqual([...(await contents(store)).keys()].sort(), wanted);
      } else {
        assert.ok(seen.join() === old.join() || seen.join() === wanted.join(), `${when} ${nth}: ${seen.join()}`);
        if (seen.join() === old.join()) undone++;
      }
      assert.ok(decodeConfig((await store.list("config/")).entries, ring).valid);
      // Whatever was left behind, the next one goes through and sweeps up.
      const again = names.map((name): Item => [keys.account(name), JSON.stringify({ name, description: "again" })]);
      await applyEntries(store, [...kept, ...again], { most: MOST });
      assert.deepEqual((await store.list("applying/")).entries, []);
      if (!died) break;
    }
  }
  assert.ok(finished > 5 && undone > 5, `${finished} finished, ${undone} undone`);
});

test("two whole-site changes at once: one after the other, never mixed", async () => {
  const { store, ring } = await newSite();
  const kept: Item[] = [...(await contents(store))];
  const most = { operations: 4, bytes: 1_000_000 };
  const target = (letter: string): Item[] => [
    ...kept,
    ...Array.from({ length: 9 }, (_, at): Item => {
      const name = `a${at}`;
      return [keys.account(name), JSON.stringify({ name, description: letter })];
    }),
  ];
  for (let round = 0; round < 5; round++) {
    const results = await Promise.allSettled(
      ["x", "y", "z"].map((letter) => applyEntries(store, target(letter), { most })),
    );
    for (const result of results) {
      if (result.status === "rejected") assert.match(String(result.reason), /whole site/);
    }
    await finishApplying(store, most);
    const decoded = decodeConfig((await store.list("config/")).entries, ring);
    assert.ok(decoded.valid);
    const seen = new Set([...decoded.snapshot.accounts.values()].map(({ description }) => description));
    assert.ok(seen.size <= 1, `mixed: ${[...seen].join()}`);
  }
});

test("somebody changes the configuration after it was read: the difference is made anew, and no half of either is lost", async () => {
  for (const most of [undefined, { operations: 2, bytes: 1_000_000 }]) {
    const { store } = await newSite();
    const kept: Item[] = [...(await contents(store))];
    const target: Item[] = [
      ...kept,
      ...["a", "b", "c"].map((name): Item => [keys.account(name), JSON.stringify({ name })]),
    ];
    let interfered = 0;
    const interfering: Coordination = {
      ...dying(store, 0, "before"),
      async list(prefix, options) {
        const listing = await store.list(prefix, options);
        if (prefix === "" && interfered++ === 0) await put(store, keys.account("eve"), { name: "eve" });
        return listing;
      },
    };
    const { difference } = await applyEntries(interfering, target, most && { most });
    assert.equal(interfered, 2, "it looked again");
    assert.deepEqual(difference.removed, [keys.account("eve")]);
    assert.deepEqual([...(await contents(store)).keys()].sort(), target.map(([key]) => key).sort());
  }
});
