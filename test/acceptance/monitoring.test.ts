import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { ALERT_GROUPS } from "../../grafana/source/alerts.js";
import { dashboardFiles, filledIn, queriesOf, readDashboard } from "../monitoring/files.js";
import { ensureClients } from "../support/clients/install.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { failed, run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";
import { longshore, type Site, startSite } from "../support/site.js";

/**
 * Every query of every dashboard, and every alert, against a real Prometheus that scrapes a real site. A metric that was
 * renamed, or a label that is spelt otherwise, shows here as a panel without data.
 */

/** A panel shows the last minutes; rates over one minute are what Grafana asks for at that step. */
const WINDOW_S = 60;
const STEP_S = 5;
const RATE_INTERVAL = "1m";

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly values: readonly (readonly [number, string])[];
}

describe("the monitoring of a site", { timeout: 300_000 }, () => {
  let site: Site;
  let prometheus: string;

  before(async () => {
    ensurePackages({ prometheus: "prometheus" });
    ensureClients("sftp");
    // With TLS there are certificates to show.
    site = await startSite({ prometheus: true, tls: true });
    prometheus = site.endpoints().prometheus?.url ?? "";
    // A rate needs a sample from before what happens.
    await until("all are scraped twice", async () => {
      const scraped = await range(`min(count_over_time(up{site="local"}[1m]))`);
      return scraped.some(({ values }) => values.some(([, value]) => Number(value) >= 2));
    });
    await traffic();
    // The usage of folders is measured where a folder has a quota.
    const body = { folders: [{ path: "/in", target: "metered/in", quotaBytes: 1_000_000 }] };
    await site.admin("/api/v1/accounts/metered", { method: "PUT", body });
    await until("the folder is measured", async () => (await range("longshore_folder_limit_bytes")).length > 0);
    const saved = join(site.directory, "backup");
    const key = join(site.directory, "backup-key");
    writeFileSync(key, "a passphrase of the test's own\n", { mode: 0o600 });
    succeeded(await longshore(["backup", saved, "--key-file", key, "--dir", site.directory]));
  });
  after(() => site?.stop());

  /** One upload, one download, a failure, and a login that is refused. */
  async function traffic(): Promise<void> {
    const partner = await Partner.add(site, "acme");
    writeFileSync(partner.local("file"), Buffer.alloc(100_000, "x"));
    succeeded(await sftp(partner, ["put file", "get file back", "-ls missing"]));
    const stranger = partner.local("stranger");
    succeeded(await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", stranger]));
    const options = [`IdentityFile=${stranger}`, "IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no"];
    const settings = [...options, `UserKnownHostsFile=${partner.knownHosts}`].flatMap((option) => ["-o", option]);
    const address = `${partner.name}@${partner.host}`;
    failed(await run("sftp", ["-F", "/dev/null", ...settings, "-P", `${partner.port}`, "-b", "/dev/null", address]));
  }

  async function ask(path: string, parameters: Readonly<Record<string, string>>): Promise<unknown> {
    const response = await fetch(`${prometheus}/api/v1/${path}`, {
      method: "POST",
      body: new URLSearchParams(parameters),
    });
    const answer = (await response.json()) as { status: string; data: unknown; error?: string };
    if (answer.status !== "success") throw new Error(`${answer.error}: ${parameters.query}`);
    return answer.data;
  }

  async function read(path: string): Promise<unknown> {
    const response = await fetch(`${prometheus}/api/v1/${path}`);
    return ((await response.json()) as { data: unknown }).data;
  }

  async function range(query: string): Promise<readonly Series[]> {
    const end = Date.now() / 1_000;
    const parameters = { query, start: `${end - WINDOW_S}`, end: `${end}`, step: `${STEP_S}` };
    return ((await ask("query_range", parameters)) as { result: Series[] }).result;
  }

  async function hasData(query: string): Promise<boolean> {
    return (await range(query)).some(({ values }) => values.some(([, value]) => Number.isFinite(Number(value))));
  }

  /** The one that took the upload: on the others nothing was committed, so that there is no latency to show. */
  async function busiestNode(): Promise<string> {
    const name = await until("the commit is scraped", async () => {
      const series = await range("topk(1, longshore_commit_seconds_count > 0)");
      return series.at(-1)?.metric.node;
    });
    return name;
  }

  test("is whole: every part answers, with its site and its name", async () => {
    const series = await range("up == 1");
    const found = series.map(({ metric: { job, site: of, node, balancer, member } }) =>
      [job, of, node, balancer, member].filter((each) => each !== undefined).join(" "),
    );
    assert.deepEqual(found.sort(), [
      "etcd local etcd-1",
      "haproxy local haproxy",
      "longshore local node-1",
      "longshore local node-2",
      "longshore local node-3",
      "prometheus local",
    ]);
  });

  for (const file of dashboardFiles()) {
    test(`fills every panel of ${basename(file)}`, async () => {
      const several = readDashboard(file).templating.list.some(({ name, multi }) => name === "node" && multi);
      const values = { site: "local", node: several ? ".+" : await busiestNode(), __rate_interval: RATE_INTERVAL };
      const queries = queriesOf(file);
      assert.ok(queries.length > 20);
      for (const { where, expression } of queries) {
        const query = filledIn(expression, values);
        await until(`${where} has data: ${query}`, () => hasData(query));
      }
    });
  }

  test("offers the site and its nodes to choose from", async () => {
    for (const file of dashboardFiles())
      for (const variable of readDashboard(file).templating.list) {
        if (variable.type !== "query") continue;
        const [, selector = "", label = ""] = /^label_values\((.+), (\w+)\)$/.exec(variable.query.query) ?? [];
        const found = await range(`group by (${label}) (${filledIn(selector, { site: "local" })})`);
        const expected = label === "site" ? ["local"] : ["node-1", "node-2", "node-3"];
        assert.deepEqual(found.map(({ metric }) => metric[label]).sort(), expected, variable.name);
      }
  });

  test("evaluates every alert, and none fires on a healthy site", async () => {
    const { groups } = (await read("rules")) as {
      groups: { name: string; rules: { name: string; query: string; health: string; lastError?: string }[] }[];
    };
    // Prometheus lists the groups by name.
    const expected = ALERT_GROUPS.map(({ name, alerts }) => [name, ...alerts.map((alert) => alert.name)]);
    assert.deepEqual(
      groups.map(({ name, rules }) => [name, ...rules.map((rule) => rule.name)]),
      expected.sort(([a = ""], [b = ""]) => a.localeCompare(b)),
    );
    for (const { name, health, lastError } of groups.flatMap((group) => group.rules))
      assert.equal(health, "ok", `${name}: ${lastError}`);
    for (const { name, expression } of ALERT_GROUPS.flatMap(({ alerts }) => alerts)) {
      const firing = (
        (await ask("query", { query: `ALERTS{alertname="${name}",alertstate="firing"}` })) as {
          result: Series[];
        }
      ).result;
      assert.deepEqual(firing, [], name);
      await ask("query", { query: expression });
    }
  });

  test("names only metrics that there are in its alerts", async () => {
    // An alert on a metric that is misspelt, or that a part doesn't have in this version, would be silent for ever.
    const known = new Set((await read("label/__name__/values")) as string[]);
    // Alertmanager isn't part of `longshore up`.
    for (const { name, expression } of ALERT_GROUPS.flatMap(({ alerts }) => alerts)) {
      const metrics = expression.match(/\b(?:longshore|haproxy|etcd|process)_\w+/g) ?? [];
      assert.deepEqual(
        metrics.filter((metric) => !known.has(metric)),
        [],
        name,
      );
    }
  });

  test("tells of a killed node within a minute, and of its return", async () => {
    const firing = async () =>
      (await range(`ALERTS{alertname="LongshoreNodeDown",alertstate="firing",node="node-3"}`)).length > 0;
    const now = async () => {
      const query = `ALERTS{alertname="LongshoreNodeDown",alertstate="firing"}`;
      return ((await ask("query", { query })) as { result: unknown[] }).result.length;
    };
    const { pid } = site.endpoints().nodes[2] ?? {};
    // Stopped rather than killed: `up` would start it again at once.
    process.kill(pid ?? 0, "SIGSTOP");
    try {
      await until("LongshoreNodeDown fires", firing, { deadlineMs: 60_000, everyMs: 500 });
    } finally {
      process.kill(pid ?? 0, "SIGCONT");
    }
    await until("it is over", async () => (await now()) === 0, { deadlineMs: 30_000, everyMs: 500 });
  });
});
