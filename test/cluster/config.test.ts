import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { createAccounts } from "#config/accounts.js";
import { bootstrap } from "#config/bootstrap.js";
import { ClusterKeyError, InvalidConfigError, StaleRevisionError } from "#config/errors.js";
import { createSiteSettings } from "#config/site.js";
import { createConfigView } from "#config/view.js";
import { keys } from "#coordination/keys.js";
import { sealKey } from "#lib/seal.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { connect, keepAwake, newSite, recordingLogger } from "./fixture.js";

const clusterKey = [sealKey(randomBytes(32))] as const;
let etcd: EtcdCluster;
keepAwake();
before(async () => {
  etcd = await startEtcd();
});
after(() => etcd.stop());

type Ends = { after(fn: () => Promise<void> | void): void };

function node(t: Ends, site: string) {
  const coordination = connect(etcd.endpoints, site);
  const logger = recordingLogger();
  const view = createConfigView({ coordination, clusterKey, logger });
  t.after(async () => {
    view.stop();
    await coordination.close();
  });
  const boot = () => bootstrap({ coordination, clusterKey, siteName: site, logger });
  return { coordination, logger, view, boot, accounts: createAccounts({ coordination }) };
}

async function started(t: Ends, site: string) {
  const one = node(t, site);
  await one.boot();
  await one.view.start();
  return one;
}

test("nodes that start a site at once agree on its id and its host keys", async (t) => {
  const site = newSite();
  const nodes = [1, 2, 3, 4, 5].map(() => node(t, site));
  await Promise.all(nodes.map(({ boot }) => boot()));
  const snapshots = await Promise.all(nodes.map(({ view }) => view.start()));
  const seen = snapshots.map(({ site: settings, hostKeys, hash, revision }) =>
    JSON.stringify([settings.id, createHash("sha256").update(hostKeys.join()).digest("hex"), hash, revision]),
  );
  assert.equal(new Set(seen).size, 1, seen.join("\n"));
  assert.equal(snapshots[0]?.hostKeys.length, 3);
  assert.equal(nodes.filter(({ logger }) => logger.lines.some((line) => /^info made the site/.test(line))).length, 1);
});

test("a node with another cluster key is told so, and changes nothing", async (t) => {
  const site = newSite();
  await started(t, site);
  const coordination = connect(etcd.endpoints, site);
  t.after(() => coordination.close());
  const other = [sealKey(randomBytes(32))] as const;
  const before = await coordination.list("");
  await assert.rejects(
    bootstrap({ coordination, clusterKey: other, siteName: site, logger: recordingLogger() }),
    (error) => error instanceof ClusterKeyError && /same clusterKeyFile/.test(error.message),
  );
  assert.deepEqual((await coordination.list("")).entries, before.entries);
});

test("a change made through one node is in force on all three within a second, with one revision and hash", async (t) => {
  const site = newSite();
  const nodes = await Promise.all([started(t, site), started(t, site), started(t, site)]);
  const [first] = nodes;
  assert.ok(first);
  for (let round = 0; round < 10; round++) {
    const { revision } = await first.accounts.put({ name: "ann", description: `round ${round}` });
    const signal = AbortSignal.timeout(1_000);
    const snapshots = await Promise.all(nodes.map(({ view }) => view.reached(revision, signal)));
    for (const snapshot of snapshots) {
      assert.equal(snapshot.revision, revision);
      assert.equal(snapshot.hash, snapshots[0]?.hash);
      assert.equal(snapshot.accounts.get("ann")?.description, `round ${round}`);
    }
  }
});

test("a deletion moves the revision on, too", async (t) => {
  const one = await started(t, newSite());
  const { revision } = await one.accounts.put({ name: "ann" });
  await one.view.reached(revision, AbortSignal.timeout(1_000));
  assert.equal(await one.accounts.delete("ann"), true);
  assert.equal(await one.accounts.delete("ann"), false);
  await until("it is gone from the view", () => !one.view.snapshot().accounts.has("ann"), {
    deadlineMs: 1_000,
    everyMs: 10,
  });
  assert.ok(one.view.snapshot().revision > revision);
});

test("a burst of changes ends with the last one in force, and with fewer snapshots than changes", async (t) => {
  const one = await started(t, newSite());
  let snapshots = 0;
  one.view.onChange(() => snapshots++);
  const writes = Array.from({ length: 60 }, (_, at) =>
    one.accounts.put({ name: `partner${at % 7}`, description: `${at}` }),
  );
  const revisions = (await Promise.all(writes)).map(({ revision }) => revision);
  const last = Math.max(...revisions);
  await one.view.reached(last, AbortSignal.timeout(2_000));
  assert.equal(one.view.snapshot().accounts.size, 7);
  assert.ok(snapshots < 60, `${snapshots} snapshots`);
});

test("an invalid entry keeps the last good snapshot, is named once, and a mended one counts at once", async (t) => {
  const one = await started(t, newSite());
  const { revision } = await one.accounts.put({ name: "ann" });
  await one.view.reached(revision, AbortSignal.timeout(1_000));
  const good = one.view.snapshot();
  for (const value of ["{", '{"name":"ben","shell":"/bin/sh"}']) {
    await one.coordination.transact({ compare: [], apply: [{ put: keys.account("ben"), value }] });
    await until("the fault is seen", () => one.view.status().faults.length > 0, { deadlineMs: 1_000, everyMs: 10 });
  }
  assert.equal(one.view.snapshot(), good);
  assert.ok(one.view.status().lagMs > 0);
  await until("it is said", () => one.logger.lines.some((line) => /config\/accounts\/ben.*shell/.test(line)), {
    deadlineMs: 1_000,
  });
  await one.accounts.put({ name: "ben" });
  await until("it is in force", () => one.view.snapshot().accounts.has("ben"), { deadlineMs: 1_000, everyMs: 10 });
  assert.deepEqual(one.view.status().faults, []);
});

test("while the store is away the last snapshot stays, the lag grows; when it is back, what changed is in force", async (t) => {
  const [member] = etcd.members;
  assert.ok(member);
  const one = await started(t, newSite());
  const before = one.view.snapshot();
  await member.kill();
  await until("the view knows that it may be behind", () => one.view.status().lagMs > 0, { deadlineMs: 6_000 });
  assert.equal(one.view.snapshot(), before);
  await member.restart();
  const { revision } = await one.accounts.put({ name: "ann" });
  await one.view.reached(revision, AbortSignal.timeout(5_000));
  await until("it is in step again", () => one.view.status().lagMs === 0, { deadlineMs: 5_000, everyMs: 20 });
});

test("a writer with an old revision is refused and told the current one", async (t) => {
  const one = await started(t, newSite());
  const first = await one.accounts.put({ name: "ann" }, "absent");
  const second = await one.accounts.put({ name: "ann", enabled: false }, first.revision);
  const stale = (error: unknown) => error instanceof StaleRevisionError && error.current === second.revision;
  await assert.rejects(one.accounts.put({ name: "ann" }, first.revision), stale);
  await assert.rejects(one.accounts.put({ name: "ann" }, "absent"), stale);
  await assert.rejects(one.accounts.delete("ann", first.revision), stale);
  assert.deepEqual(await one.accounts.get("ann"), second);
});

test("what isn't valid is refused with the path of each fault, and nothing is written", async (t) => {
  const one = await started(t, newSite());
  await assert.rejects(one.accounts.put({ name: "ann", home: "../.." }), (error) => {
    assert.ok(error instanceof InvalidConfigError);
    assert.deepEqual(
      error.faults.map(({ path }) => path),
      ["home"],
    );
    return true;
  });
  assert.deepEqual(await one.accounts.list(), []);
  assert.equal(await one.accounts.get("../site"), undefined);
});

test("site settings change by compare-and-set; the site's id never does", async (t) => {
  const one = await started(t, newSite());
  const settings = createSiteSettings({ coordination: one.coordination });
  const { site, revision } = await settings.get();
  const changed = await settings.put({ ...site, durability: "power" }, revision);
  await one.view.reached(changed.revision, AbortSignal.timeout(1_000));
  assert.equal(one.view.snapshot().site.durability, "power");
  await assert.rejects(settings.put(site, revision), StaleRevisionError);
  const foreign = { ...site, id: "0f8e7d6c-1111-4222-8333-444455556666" };
  await assert.rejects(settings.put(foreign, changed.revision), /id: can't be changed/);
});
