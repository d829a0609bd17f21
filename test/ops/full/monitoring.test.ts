import assert from "node:assert/strict";
import { basename } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { ALERT_GROUPS } from "../../../grafana/source/alerts.js";
import { dashboardFiles, filledIn, queriesOf, readDashboard } from "../../monitoring/files.js";
import { bytes, writeContent } from "../../support/clients/content.js";
import { ensureClients } from "../../support/clients/install.js";
import { sftp } from "../../support/clients/openssh.js";
import { Partner } from "../../support/clients/partner.js";
import { RawSftp } from "../../support/clients/raw-sftp.js";
import { report, succeeded } from "../../support/clients/run.js";
import { BALANCERS, type ComposeSite, MEMBERS, NODES, startCompose } from "../../support/compose.js";
import { alerts, hasData, instantQuery, rules } from "../../support/prometheus.js";

/**
 * What the containers' own Prometheus says. Grafana isn't run (its image comes from a registry): its dashboards' queries
 * are, and test/monitoring checks the dashboards and the provisioning files themselves.
 */

const WINDOW_S = 60;
const STORAGE_MIB = 256;
/** An alert's own `for`, a scrape, an evaluation, and a busy machine. */
const FIRES_MS = 150_000;
const ENDS_MS = 150_000;

describe("the monitoring of a site in containers", () => {
  let site: ComposeSite;
  let prometheus: string;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp");
    site = await startCompose({ storageMiB: STORAGE_MIB });
    prometheus = `http://127.0.0.1:${site.env.LONGSHORE_PROMETHEUS_PORT}`;
    partner = await Partner.add(site, "monitored");
    // A rate needs a sample from before what happens.
    await until(
      "everything is scraped twice",
      async () => {
        const [least] = await instantQuery(prometheus, "min(count_over_time(up[1m]) and up == 1)");
        return (least?.value ?? 0) >= 2;
      },
      { deadlineMs: 60_000, everyMs: 500 },
    );
    await traffic();
    // The usage of folders is measured where a folder has a quota.
    const body = { folders: [{ path: "/in", target: "metered/in", quotaBytes: 1_000_000 }] };
    await site.admin("/api/v1/accounts/metered", { method: "PUT", body });
  });
  after(async () => {
    await site?.stop();
  });

  /** One upload, one download, a failure, and a login that is refused, through each balancer. */
  async function traffic(): Promise<void> {
    writeContent(partner.local("file"), 100_000);
    for (const balancer of BALANCERS) {
      const port = site.sftpPort(balancer);
      succeeded(await sftp(partner, ["put file", "get file back", "-ls missing"], { port }));
      const stranger = { host: "127.0.0.1", port, user: partner.name, password: "not it" };
      await assert.rejects(RawSftp.connect(stranger));
    }
  }

  for (const file of dashboardFiles()) {
    test(`every panel of ${basename(file)} has data`, async () => {
      const several = readDashboard(file).templating.list.some(({ name, multi }) => name === "node" && multi);
      const busiest = await until("a commit is scraped", async () => {
        const [top] = await instantQuery(prometheus, "topk(1, longshore_commit_seconds_count > 0)");
        return top?.metric.node;
      });
      const [{ metric: { site: name = "" } = {} } = {}] = await instantQuery(prometheus, 'up{job="prometheus"}');
      const values = { site: name, node: several ? ".+" : busiest, __rate_interval: "1m" };
      for (const { where, expression } of queriesOf(file)) {
        const query = filledIn(expression, values);
        await until(`${where} has data: ${query}`, () => hasData(prometheus, query, WINDOW_S), {
          deadlineMs: 30_000,
          everyMs: 500,
        });
      }
    });
  }

  test("every alert rule is loaded and can be evaluated, and none fires on a site that is well", async () => {
    const expected = ALERT_GROUPS.flatMap((group) => group.alerts.map(({ name }) => name)).sort();
    const loaded = await until("every rule was evaluated", async () => {
      const all = await rules(prometheus);
      return all.every(({ health }) => health !== "unknown") && all;
    });
    assert.deepEqual(loaded.map(({ name }) => name).sort(), expected);
    for (const { name, health, lastError } of loaded) assert.equal(health, "ok", `${name}: ${lastError}`);
    assert.deepEqual(firing(await alerts(prometheus)), []);
  });

  function firing(all: Awaited<ReturnType<typeof alerts>>): string[] {
    const names = all.filter(({ state }) => state === "firing").map(({ labels }) => labels.alertname ?? "");
    return [...new Set(names)].sort();
  }

  interface Fault {
    readonly what: string;
    readonly harm: () => void;
    readonly mend: () => void;
    /** Alerts that must fire; others may besides. */
    readonly fires: readonly string[];
  }

  const FAULTS: readonly Fault[] = [
    {
      what: "a node is down",
      harm: () => site.kill("node-3"),
      mend: () => site.start("node-3"),
      fires: ["LongshoreNodeDown"],
    },
    {
      what: "two nodes, a member of etcd and a balancer are down, and the storage is nearly full",
      harm: () => {
        for (const service of ["node-2", "node-3", "etcd-3", "balancer-2"]) site.kill(service);
        site.fill((STORAGE_MIB * 1024 * 1024) / 20);
      },
      mend: () => {
        for (const service of ["node-2", "node-3", "etcd-3", "balancer-2"]) site.start(service);
        site.makeRoom();
      },
      fires: [
        "LongshoreBalancerDown",
        "LongshoreEtcdMemberDown",
        "LongshoreNodeDown",
        "LongshoreSiteBelowTwoReadyNodes",
        "LongshoreStorageNearlyFull",
      ],
    },
  ];
  for (const { what, harm, mend, fires } of FAULTS) {
    test(`${what}: alerts fire, Alertmanager has them, and they end by themselves`, async () => {
      const begun = performance.now();
      const seconds = () => ((performance.now() - begun) / 1000).toFixed(0);
      harm();
      try {
        const pending = new Set(fires);
        await until(
          `${fires} fire`,
          async () => {
            for (const name of firing(await alerts(prometheus)))
              if (pending.delete(name)) report(`${name} fires ${seconds()} s after the fault`);
            return pending.size === 0;
          },
          { deadlineMs: FIRES_MS, everyMs: 500 },
        );
        await until("Alertmanager has them", async () => {
          const url = `http://127.0.0.1:${site.env.LONGSHORE_ALERTMANAGER_PORT}/api/v2/alerts`;
          const all = (await (await fetch(url)).json()) as { labels: Record<string, string> }[];
          return fires.every((name) => all.some(({ labels }) => labels.alertname === name));
        });
      } finally {
        mend();
      }
      await site.healthy(...NODES, ...MEMBERS, ...BALANCERS);
      await until(`${fires} end`, async () => firing(await alerts(prometheus)).every((name) => !fires.includes(name)), {
        deadlineMs: ENDS_MS,
        everyMs: 500,
      });
      report(`${fires.length === 1 ? fires[0] : "all of them"} over ${seconds()} s after the fault`);
    });
  }

  test("a storage without room: uploads are refused, and an alert says why", async () => {
    const session = await partner.raw();
    site.fill(0);
    try {
      const refused = await session.put("/too-much", bytes(4 * 1024 * 1024)).then(
        () => false,
        () => true,
      );
      assert.ok(refused);
      await until(
        "LongshoreStorageUnhealthy fires",
        async () => {
          return firing(await alerts(prometheus)).includes("LongshoreStorageUnhealthy");
        },
        { deadlineMs: FIRES_MS, everyMs: 500 },
      );
    } finally {
      site.makeRoom();
      await session.end();
    }
  });
});
