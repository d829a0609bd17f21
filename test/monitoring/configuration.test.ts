import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type AlertmanagerOptions, renderAlertmanager } from "#monitoring/alertmanager.js";
import { ALERT_RULES, type PrometheusOptions, renderPrometheus } from "#monitoring/prometheus.js";
import { ALERT_GROUPS } from "../../grafana/source/alerts.js";
import { run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";

/** The configuration files that a site gets, held against the programs that read them. */

let tools: { promtool: string; amtool: string };
const directory = mkdtempSync(join(tmpdir(), "longshore-monitoring-"));
before(() => {
  tools = ensurePackages({ promtool: "prometheus", amtool: "prometheus-alertmanager" });
});
after(() => rmSync(directory, { recursive: true, force: true }));

function written(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const at = (name: string, port: number, host = "10.0.0.1") => ({ name, host, port });
const site: PrometheusOptions = {
  site: "hamburg",
  nodes: [at("node-1", 8080), at("node-2", 8080, "fd00::2")],
  balancers: [at("balancer-1", 8405)],
  etcd: [at("etcd-1", 2381), at("etcd-2", 2381)],
  prometheus: { host: "127.0.0.1", port: 9090 },
  ruleFiles: [ALERT_RULES],
};
const alertmanager = { host: "10.0.0.42", port: 9093 };

describe("prometheus.yml", () => {
  test("is one that Prometheus takes, with our alerts", async () => {
    const file = written("prometheus.yml", renderPrometheus({ ...site, alertmanager }));
    const { stdout } = succeeded(await run(tools.promtool, ["check", "config", file]));
    assert.match(stdout, /1 rule files found/);
  });

  test("without an Alertmanager is one, too", async () => {
    const text = renderPrometheus(site);
    assert.doesNotMatch(text, /alertmanager/);
    succeeded(await run(tools.promtool, ["check", "config", written("alone.yml", text)]));
  });

  test("asks nodes with TLS by their authority's certificate, and nobody else", async () => {
    // promtool looks whether the authority's file is there.
    const caFile = written("ca.pem", "");
    const text = renderPrometheus({ ...site, nodesTls: { caFile, serverName: "nodes.longshore" } });
    succeeded(await run(tools.promtool, ["check", "config", written("tls.yml", text)]));
    const { scrape_configs } = JSON.parse(text) as { scrape_configs: { job_name: string; tls_config?: object }[] };
    assert.deepEqual(
      scrape_configs.filter(({ tls_config }) => tls_config !== undefined).map(({ job_name }) => job_name),
      ["longshore"],
    );
    assert.deepEqual(scrape_configs[0]?.tls_config, { ca_file: caFile, server_name: "nodes.longshore" });
    const byAddress = renderPrometheus({ ...site, nodesTls: { caFile } });
    assert.doesNotMatch(byAddress, /server_name/);
    succeeded(await run(tools.promtool, ["check", "config", written("tls-by-address.yml", byAddress)]));
  });

  test("labels every target with its site, and those of a kind with their names", () => {
    const config = JSON.parse(renderPrometheus({ ...site, alertmanager })) as {
      scrape_configs: { job_name: string; static_configs: { targets: string[]; labels: Record<string, string> }[] }[];
    };
    const targets = config.scrape_configs.flatMap(({ job_name, static_configs }) =>
      static_configs.map(({ targets: [address], labels }) => ({ job: job_name, address, ...labels })),
    );
    assert.deepEqual(targets, [
      { job: "longshore", address: "10.0.0.1:8080", site: "hamburg", node: "node-1" },
      { job: "longshore", address: "[fd00::2]:8080", site: "hamburg", node: "node-2" },
      { job: "haproxy", address: "10.0.0.1:8405", site: "hamburg", balancer: "balancer-1" },
      { job: "etcd", address: "10.0.0.1:2381", site: "hamburg", member: "etcd-1" },
      { job: "etcd", address: "10.0.0.1:2381", site: "hamburg", member: "etcd-2" },
      { job: "prometheus", address: "127.0.0.1:9090", site: "hamburg" },
      { job: "alertmanager", address: "10.0.0.42:9093", site: "hamburg" },
    ]);
  });
});

const mail = { smtp: { host: "mail.example.org", port: 587 }, from: "longshore@example.org", to: ["ops@example.org"] };

describe("alertmanager.yml", () => {
  const login = { user: "longshore", passwordFile: "/run/secrets/smtp-password" };
  const cases: Readonly<Record<string, AlertmanagerOptions>> = {
    "nobody to tell": {},
    "a webhook": { webhookUrl: "https://chat.example.org/hook/1" },
    mail: { mail: { ...mail, to: ["a@example.org", "b@example.org"], login } },
    "mail without a login or TLS": { mail: { ...mail, requireTls: false } },
    both: { webhookUrl: "http://10.0.0.9:8080/", mail },
  };
  for (const [name, options] of Object.entries(cases))
    test(`with ${name} is one that Alertmanager takes`, async () => {
      const file = written("alertmanager.yml", renderAlertmanager(options));
      const { stdout } = succeeded(await run(tools.amtool, ["check-config", file]));
      assert.match(stdout, /1 receivers/);
    });

  test("sends every alert to the operators", async () => {
    const file = written("alertmanager.yml", renderAlertmanager({ mail }));
    for (const severity of ["critical", "warning", "info"]) {
      const args = ["config", "routes", "test", `--config.file=${file}`, `severity=${severity}`, "site=s"];
      assert.equal(succeeded(await run(tools.amtool, args)).stdout.trim(), "operators");
    }
  });

  test("keeps silent only about alerts that there are", () => {
    const { inhibit_rules } = JSON.parse(renderAlertmanager({})) as {
      inhibit_rules: { source_matchers: string[]; target_matchers: string[] }[];
    };
    const known = new Set(ALERT_GROUPS.flatMap(({ alerts }) => alerts.map(({ name }) => name)));
    const named = inhibit_rules.flatMap((rule) =>
      [...rule.source_matchers, ...rule.target_matchers].flatMap((matcher) => matcher.match(/Longshore\w+/g) ?? []),
    );
    assert.ok(named.length > 4);
    assert.deepEqual(
      named.filter((name) => !known.has(name)),
      [],
    );
  });

  test("isn't made of a receiver that can't work: the option is named", () => {
    const bad: readonly (readonly [AlertmanagerOptions, RegExp])[] = [
      [{ webhookUrl: "chat.example.org" }, /^webhookUrl: /],
      [{ webhookUrl: "ftp://chat.example.org" }, /^webhookUrl: /],
      [{ mail: { ...mail, to: [] } }, /^mail\.to: /],
      [{ mail: { ...mail, to: ["ops"] } }, /^mail\.to: "ops"/],
      [{ mail: { ...mail, from: "Longshore" } }, /^mail\.from: /],
    ];
    for (const [options, message] of bad)
      assert.throws(() => renderAlertmanager(options), { name: "TypeError", message });
  });
});
