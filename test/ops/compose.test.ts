import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { ALERT_GROUPS } from "../../grafana/source/alerts.js";
import { bytes, sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { sftp, startSftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { report, run, succeeded, tell } from "../support/clients/run.js";
import { BALANCERS, type ComposeSite, MEMBERS, NODES, ROOT, startCompose } from "../support/compose.js";
import { instantQuery, rules } from "../support/prometheus.js";

/**
 * The appliance in containers, as an evaluator meets it, on a real engine. The faults that take longer are in `full/`
 * (`npm run test:ops`). Grafana's image comes from a registry, so Grafana itself isn't run here.
 */

const MIB = 1024 * 1024;
/** The issue's own bound, once images are there. */
const HEALTHY_MS = 90_000;

describe("docker compose up", () => {
  let site: ComposeSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await startCompose();
    partner = await Partner.add(site, "ops");
  });
  after(async () => {
    await site?.stop();
  });

  test("is healthy in time, in every container", () => {
    report(`images ${(site.buildMs / 1000).toFixed(1)} s, healthy after ${(site.upMs / 1000).toFixed(1)} s`);
    assert.ok(site.upMs < HEALTHY_MS, `${site.upMs} ms`);
    for (const service of [...NODES, ...MEMBERS, ...BALANCERS, "prometheus", "alertmanager"]) {
      const { status, health, restarts } = site.state(service);
      assert.deepEqual(
        { service, status, health, restarts },
        { service, status: "running", health: "healthy", restarts: 0 },
      );
    }
  });

  test("`cli endpoints` says where to connect, and its sftp line works as it is pasted", async () => {
    const endpoints = await site.readEndpoints();
    assert.deepEqual(
      endpoints.fronts?.map(({ sftp: address }) => address.port),
      BALANCERS.map((balancer) => site.sftpPort(balancer)),
    );
    const printed = succeeded(await site.cli("endpoints")).stdout;
    const line = /^.*?(sftp -.*)$/m.exec(printed)?.[1];
    assert.ok(line, `no sftp line in:\n${printed}`);
    writeContent(partner.local("pasted"), 300_000, "pasted");
    const input = `put ${partner.local("pasted")}\nls -l\nbye\n`;
    const pasted = succeeded(await run("sh", ["-c", line], { cwd: ROOT, input }));
    assert.match(pasted.stdout, /\b300000\b.*pasted/, tell(pasted));
    for (const { privateKeyFile } of endpoints.accounts) {
      const modes = succeeded(await run("stat", ["-c", "%a", privateKeyFile], { cwd: ROOT })).stdout;
      assert.equal(modes.trim(), "600");
    }
  });

  test("a file goes in through one balancer and comes out of the other as it was", async () => {
    for (const [index, balancer] of BALANCERS.entries()) {
      const other = BALANCERS[1 - index] ?? "balancer-1";
      const content = writeContent(partner.local(`to-${balancer}`), 8 * MIB);
      succeeded(await sftp(partner, [`put to-${balancer}`], { port: site.sftpPort(balancer) }));
      succeeded(await sftp(partner, [`get to-${balancer} back-${balancer}`], { port: site.sftpPort(other) }));
      assert.equal(sha256OfFileSync(partner.local(`back-${balancer}`)), sha256(content));
    }
  });

  test("a node is killed in mid-upload: `reput` finishes the file on another one", async () => {
    const content = writeContent(partner.local("interrupted"), 6 * MIB);
    const begun = new Date();
    const upload = startSftp(partner, ["put interrupted"], { limit: 8_000 });
    const victim = await site.nodeOfLogin(partner.name, begun);
    await until("some of it has arrived", async () => {
      const look = await partner.raw();
      try {
        return ((await look.stat("/interrupted")).size ?? 0) > MIB;
      } finally {
        await look.end();
      }
    });
    site.kill(victim);
    const cut = await upload.outcome;
    assert.notEqual(cut.code, 0, tell(cut));
    const before = site.state(victim);
    succeeded(
      await until("a login", async () => {
        const resumed = await sftp(partner, ["reput interrupted", "get interrupted whole"]);
        return resumed.code === 0 && resumed;
      }),
    );
    assert.equal(site.state(victim).startedAt, before.startedAt, "the node is still down");
    assert.equal(sha256OfFileSync(partner.local("whole")), sha256(content));
    site.start(victim);
    await site.healthy(victim);
    await site.nodesAre("ready");
  });

  test("Prometheus sees everything that runs, and has loaded every alert rule", async () => {
    const wanted = {
      longshore: NODES.length,
      haproxy: BALANCERS.length,
      etcd: MEMBERS.length,
      prometheus: 1,
      alertmanager: 1,
    };
    const url = `http://127.0.0.1:${site.env.LONGSHORE_PROMETHEUS_PORT}`;
    await until(
      "every target that runs is up",
      async () => {
        const rows = await instantQuery(url, "sum by (job) (up)");
        const seen = Object.fromEntries(rows.map(({ metric, value }) => [metric.job, value]));
        assert.deepEqual(seen, wanted);
        return true;
      },
      { deadlineMs: 30_000, everyMs: 500 },
    );
    const loaded = await rules(url);
    const expected = ALERT_GROUPS.flatMap((group) => group.alerts.map(({ name }) => name));
    assert.deepEqual(loaded.map(({ name }) => name).sort(), expected.sort());
  });

  test("`down` and `up` again keep accounts and files", async () => {
    const kept = bytes(3 * MIB, "kept");
    const session = await partner.raw();
    await session.put("/kept", kept);
    await session.end();
    const before = await site.readEndpoints();
    await site.down();
    await site.up();
    report(`down and up again: healthy after ${(site.upMs / 1000).toFixed(1)} s`);
    assert.deepEqual((await site.readEndpoints()).accounts, before.accounts);
    // The host key is the site's: known_hosts of before must do.
    succeeded(await sftp(partner, ["get kept", "get to-balancer-1 again"]));
    assert.equal(sha256OfFileSync(partner.local("kept")), sha256(kept));
    assert.equal(sha256OfFileSync(partner.local("again")), sha256OfFileSync(partner.local("to-balancer-1")));
  });
});
