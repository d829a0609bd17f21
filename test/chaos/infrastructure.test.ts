import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { keepAwake } from "../cluster/fixture.js";
import { GuardedSite, settingsOf } from "../cluster/guarded-site.js";
import { bytes, sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { Ledger } from "../support/clients/ledger.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner, type PartnerSite } from "../support/clients/partner.js";
import { report, until } from "../support/clients/run.js";
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

  keepAwake();
  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await GuardedSite.start({ members: 3 });
    const door: PartnerSite = {
      endpoints: () => ({
        sftp: { host: "127.0.0.1", port: site.port },
        storage: { path: join(site.site.directory, "storage") },
      }),
      node: (index) => ({ sftpPort: settingsOf(site.node(index)).sftp.port }),
      addAccount: (name, account) => site.account(name, { ...account }),
    };
    partner = await Partner.add(door, "steady");
    onlooker = await Partner.add(door, "onlooker", { home: partner.home });
    const session = await partner.raw();
    await session.put("/kept", KEPT);
    await session.mkdir("/traffic");
    await session.end();
  });
  beforeEach(() => {
    clients = new SteadyClients();
  });
  afterEach(() => clients.stop());
  after(async () => {
    await site?.stop();
  });

  function downloads(name: string): void {
    const sum = sha256(KEPT);
    clients.add(name, async () => {
      const outcome = await sftp(partner, [`get kept ${name}`]);
      if (outcome.code === 0) assert.equal(sha256OfFileSync(partner.local(name)), sum);
      rmSync(partner.local(name), { force: true });
      return outcome;
    });
  }

  test("etcd's leader is killed every 5 s: nobody's login or download fails, and no acknowledged file is lost", {
    timeout: LEADERS * 40_000 + 60_000,
  }, async () => {
    const ledger = new Ledger();
    const watcher = new Watcher((turn) => onlooker.rawOn(turn % 3, { replyMs: 20_000 }));
    const traffic = new Traffic({ partner, ports: [site.port], ledger, watcher, directory: "/traffic" });
    try {
      downloads("down-1");
      downloads("down-2");
      await until("all are at work", () => clients.count >= 2 && traffic.files >= 2);
      for (let kill = 0; kill < LEADERS; kill++) {
        const begun = performance.now();
        const files = traffic.files;
        const leader = await until("a leader", () => site.etcd.leader(), { deadlineMs: 20_000, everyMs: 200 });
        await leader.kill();
        await until("uploads go on under the next leader", () => traffic.files > files, { deadlineMs: 20_000 });
        await leader.restart();
        await until("5 s are over", () => performance.now() - begun > EVERY_MS);
      }
    } finally {
      await traffic.stop();
      await watcher.stop();
      await clients.stop();
    }
    report(
      `etcd's leader killed ${LEADERS} times: ${traffic.files} files sent, resumed ${traffic.resumed} times; ` +
        `${clients.failures.length} of ${clients.count} downloads failed`,
    );
    assert.deepEqual(clients.failures, []);
    assert.deepEqual(traffic.lost, []);
    watcher.sawOnlyWholeFiles();
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
