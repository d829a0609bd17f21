import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { keepAwake } from "../cluster/fixture.js";
import { GuardedSite } from "../cluster/guarded-site.js";
import { bytes, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { Ledger } from "../support/clients/ledger.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { type Outcome, report, tell } from "../support/clients/run.js";
import { SteadyClients } from "../support/clients/steady-clients.js";
import { leftInStore } from "../support/clients/store-residue.js";
import { Traffic } from "../support/clients/traffic.js";
import { Watcher } from "../support/clients/watcher.js";

/**
 * Every member of etcd is killed for a minute while partners work through the balancer. Those who log in and download notice
 * nothing at all; each upload ends in time, with success or a clear error, and keeps what arrived; when etcd is back,
 * everything is well within 5 s and nothing that was acknowledged is lost.
 */

const OUTAGE_MS = Number(process.env.LONGSHORE_OUTAGE_MS ?? 60_000);
/** Longer than the outage: past it nobody is served, which without-store.test.ts tries. */
const GRACE_S = 150;
/** An upload's CLOSE that met the outage is answered within 11 s (docs/runbooks/etcd-down.md). */
const UPLOAD_ENDS_MS = 20_000;
const WELL_MS = 5_000;
const KEPT = bytes(700_000, "kept");

describe("etcd down for a minute under load", () => {
  let site: GuardedSite;
  let partner: Partner;
  let traffic: Traffic;
  let watcher: Watcher;
  const ledger = new Ledger();
  const clients = new SteadyClients();
  let uploading = true;

  keepAwake();
  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await GuardedSite.start({ members: 3 });
    await site.settings({ cutOffGraceSeconds: GRACE_S });
    partner = await Partner.add(site.door, "steady");
    const onlooker = await Partner.add(site.door, "onlooker", { home: partner.home });
    watcher = new Watcher((turn) => onlooker.rawOn(turn % 3, { replyMs: 20_000 }));
    const session = await partner.raw();
    await session.put("/kept", KEPT);
    await session.mkdir("/traffic");
    await session.end();
    traffic = new Traffic({ partner, ports: [site.port], ledger, watcher, directory: "/traffic" });
  });
  after(async () => {
    uploading = false;
    await clients.stop();
    await watcher?.stop();
    await traffic?.abandon();
    await site?.stop();
  });

  const states = () =>
    Promise.all([0, 1, 2].map(async (index) => String((await site.node(index).ask("/health/ready")).body.state)));

  test("logins and downloads don't notice; uploads end in time; all is well within 5 s of its return", {
    timeout: OUTAGE_MS + 240_000,
  }, async () => {
    const file = { path: "/kept", content: KEPT, also: ["ls -l"] };
    clients.addDownload(partner, "down-1", file);
    clients.addDownload(partner, "down-2", file);
    clients.add("password", async () => {
      const session = await partner.rawByPassword();
      assert.ok((await session.get("/kept")).equals(KEPT));
      await session.end();
      return undefined;
    });
    const kept = await partner.raw();
    await until("all are at work", () => clients.count >= 4 && traffic.files >= 3);

    const uploads: Outcome[] = [];
    const content = writeContent(partner.local("up"), 300_000);
    const uploader = (async () => {
      for (let turn = 0; uploading; turn++) {
        const outcome = await sftp(partner, [`put up up-${turn}`], { deadlineMs: 60_000 });
        uploads.push(outcome);
        if (outcome.code === 0) ledger.acknowledged(`/up-${turn}`, content);
      }
    })();

    const downAt = performance.now();
    await Promise.all(site.etcd.members.map((member) => member.kill()));
    await until("all nodes say so", async () => (await states()).every((state) => state === "cut-off"), {
      deadlineMs: 10_000,
    });
    const filesAtCut = traffic.files;
    await until("the minute is over", () => performance.now() - downAt >= OUTAGE_MS, {
      deadlineMs: OUTAGE_MS + 10_000,
      everyMs: 100,
    });
    assert.ok((await kept.get("/kept")).equals(KEPT), "a session from before goes on");
    await kept.end();
    assert.ok(traffic.files <= filesAtCut + 1, "nothing is committed without etcd");
    const duringOutage = clients.count;

    await Promise.all(site.etcd.members.map((member) => member.restart()));
    const backAt = performance.now();
    const filesBack = traffic.files;
    await until("all are ready", async () => (await states()).every((state) => state === "ready"), {
      deadlineMs: WELL_MS,
    });
    const readyMs = performance.now() - backAt;
    await until("uploads go through", () => traffic.files > filesBack, { deadlineMs: WELL_MS });
    const uploadMs = performance.now() - backAt;
    const fresh = await sftp(partner, ["put up fresh"]);
    assert.equal(fresh.code, 0, tell(fresh));

    uploading = false;
    await uploader;
    await traffic.stop();
    await watcher.stop();
    await clients.stop();
    report(
      `etcd down for ${(OUTAGE_MS / 1_000).toFixed(0)} s: ${clients.failures.length} of ${clients.count} logins with a download failed ` +
        `(${duringOutage} by the end of it); ready ${Math.round(readyMs)} ms and uploads ${Math.round(uploadMs)} ms after its ` +
        `return; ${traffic.files} files sent, resumed ${traffic.resumed} times`,
    );
    assert.deepEqual(clients.failures, []);
    assert.ok(duringOutage > 20, `${duringOutage} downloads`);
    for (const outcome of uploads) {
      assert.ok(!outcome.timedOut && outcome.ms < UPLOAD_ENDS_MS, tell(outcome));
      if (outcome.code !== 0) assert.match(outcome.stderr, /[Ff]ailure|store|later/, tell(outcome));
    }
    assert.ok(
      uploads.some(({ code }) => code !== 0),
      "some met the outage",
    );
    assert.deepEqual(traffic.lost, []);
    watcher.sawOnlyWholeFiles();
    const session = await partner.raw();
    await ledger.checkAll(session);
    await session.end();
    await until("nothing is pending", async () => (await leftInStore(site.etcd.ctl)).length === 0, {
      deadlineMs: 20_000,
    });
  });
});
