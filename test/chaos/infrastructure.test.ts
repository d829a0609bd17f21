import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { GuardedSite } from "../cluster/guarded-site.js";
import { bytes, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { Ledger } from "../support/clients/ledger.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { report } from "../support/clients/run.js";
import { SteadyClients } from "../support/clients/steady-clients.js";
import { leftInStore } from "../support/clients/store-residue.js";
import { Traffic } from "../support/clients/traffic.js";
import { Watcher } from "../support/clients/watcher.js";

/** What the nodes stand on is shaken while partners work: etcd's leader dies again and again, HAProxy gets a new configuration. */

const LEADERS = Number(process.env.LONGSHORE_CHAOS_LEADERS ?? 8);
const RELOADS = 6;
const EVERY_MS = 5_000;
const KEPT = bytes(500_000, "kept");

describe("shaken ground", () => {
  let site: GuardedSite;
  let partner: Partner;
  let onlooker: Partner;
  let clients: SteadyClients;
  let traffic: Traffic | undefined;
  let watcher: Watcher | undefined;

  keepAwake();
  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await GuardedSite.start({ members: 3 });
    partner = await Partner.add(site.door, "steady");
    onlooker = await Partner.add(site.door, "onlooker", { home: partner.home });
    const session = await partner.raw();
    await session.put("/kept", KEPT);
    await session.mkdir("/traffic");
    await session.end();
  });
  beforeEach(() => {
    clients = new SteadyClients();
  });
  afterEach(async () => {
    await clients.stop();
    await traffic?.abandon();
    await watcher?.stop();
  });
  after(async () => {
    await site?.stop();
  });

  const downloads = (name: string) => clients.addDownload(partner, name, { path: "/kept", content: KEPT });

  test("etcd's leader is killed every 5 s: nobody's login or download fails, and no acknowledged file is lost", {
    timeout: LEADERS * 40_000 + 60_000,
  }, async () => {
    const ledger = new Ledger();
    const onlooking = new Watcher((turn) => onlooker.rawOn(turn % 3, { replyMs: 20_000 }));
    watcher = onlooking;
    const sender = new Traffic({ partner, ports: [site.port], ledger, watcher, directory: "/traffic" });
    traffic = sender;
    downloads("down-1");
    downloads("down-2");
    await until("all are at work", () => clients.count >= 2 && sender.files >= 2);
    for (let kill = 0; kill < LEADERS; kill++) {
      const begun = performance.now();
      const leader = await until("a leader", () => site.etcd.leader(), { deadlineMs: 20_000, everyMs: 200 });
      await leader.kill();
      // One more may have been committed by the one that was killed.
      const files = sender.files + 1;
      await until("uploads go on under the next leader", () => sender.files > files, { deadlineMs: 20_000 });
      await leader.restart();
      await until("5 s are over", () => performance.now() - begun > EVERY_MS);
    }
    await sender.stop();
    await onlooking.stop();
    await clients.stop();
    report(
      `etcd's leader killed ${LEADERS} times: ${sender.files} files sent, resumed ${sender.resumed} times; ` +
        `${clients.failures.length} of ${clients.count} downloads failed`,
    );
    assert.deepEqual(clients.failures, []);
    assert.deepEqual(sender.lost, []);
    onlooking.sawOnlyWholeFiles();
    const session = await partner.raw();
    await ledger.checkAll(session);
    await session.end();
    await until("nothing is pending", async () => (await leftInStore(site.etcd.ctl)).length === 0, {
      deadlineMs: 20_000,
    });
  });

  test("HAProxy is reloaded during uploads: no transfer and no login fails, also none that outlasts a reload", {
    timeout: 180_000,
  }, async () => {
    const ledger = new Ledger();
    writeContent(partner.local("small"), 300_000);
    const long = writeContent(partner.local("long"), 3_000_000);
    clients.add("put", (turn) => sftp(partner, [`put small small-${turn}`]));
    clients.add("long put", async (turn) => {
      const outcome = await sftp(partner, [`put long long-${turn}`], { limit: 2_400, buffer: 16_384, requests: 4 });
      if (outcome.code === 0) ledger.acknowledged(`/long-${turn}`, long);
      return outcome;
    });
    downloads("down-3");
    await until("all are at work", () => clients.count >= 2);
    for (let reload = 0; reload < RELOADS; reload++) {
      const before = clients.count;
      await site.reloadHaproxy();
      await until("clients went on", () => clients.count >= before + 3, { deadlineMs: 30_000 });
    }
    await until("a long one is done", () => clients.runs().every(({ runs }) => runs > 0), { deadlineMs: 60_000 });
    await clients.stop();
    report(`HAProxy reloaded ${RELOADS} times: ${clients.failures.length} of ${clients.count} transfers failed`);
    assert.deepEqual(clients.failures, []);
    const session = await partner.raw();
    await ledger.checkAll(session);
    await session.end();
  });
});
