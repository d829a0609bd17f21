import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CliError } from "../errors.js";
import { alertRules, type Kind, RENDERERS, render } from "./render.js";

const balancer = {
  sftp: [{ host: "0.0.0.0", port: 2222 }],
  nodes: [{ name: "one", host: "2001:db8::1", sftpPort: 2022, adminPort: 8080, agentPort: 8081 }],
  adminTls: { caFile: "/etc/longshore/tls/ca.pem" },
  stats: { host: "127.0.0.1", port: 8404 },
  metrics: { host: "0.0.0.0", port: 8405 },
  socket: "/run/haproxy/admin.sock",
  script: "/etc/longshore/balancer/end-sessions.lua",
};

const node = {
  site: "harbour",
  name: "one",
  slot: 1,
  bind: "::",
  ports: { sftp: 2022, admin: 8080, agent: 8081 },
  balancers: ["192.0.2.1", "2001:db8::/64"],
  etcd: [
    { host: "2001:db8::1", port: 2379 },
    { host: "etcd.example.net", port: 2379 },
  ],
  etcdTls: { caFile: "/t/ca.pem", certificateFile: "/t/c.pem", keyFile: "/t/c.key" },
  adminTokenFile: "/etc/longshore/node/admin-token",
  clusterKeyFile: "/etc/longshore/node/cluster-key",
  storage: { path: "/srv/longshore" },
  dataDirectory: "/var/lib/longshore/node",
  drainSeconds: 30,
  logLevel: "info",
};

describe("longshore render", () => {
  test("a balancer's two files come from the product's template", () => {
    const files = RENDERERS.balancer(balancer);
    assert.deepEqual(Object.keys(files), ["haproxy.cfg", "end-sessions.lua"]);
    assert.match(files["haproxy.cfg"], /server one \[2001:db8::1\]:2022 port 8080 agent-port 8081 check-ssl/);
    assert.match(files["end-sessions.lua"], /core.register_task/);
  });

  test("a node's settings: etcd at names and IPv6 addresses, seconds as milliseconds", () => {
    const settings = JSON.parse(RENDERERS.node(node)["settings.json"]);
    assert.deepEqual(settings.coordination.endpoints, ["https://[2001:db8::1]:2379", "https://etcd.example.net:2379"]);
    assert.equal(settings.drainMs, 30_000);
    assert.deepEqual(settings.storage, { path: "/srv/longshore", local: false });
    assert.equal("tls" in settings.admin, false);
    const open = JSON.parse(RENDERERS.node({ ...node, balancers: [] })["settings.json"]);
    assert.equal("balancers" in open, false);
  });

  test("Prometheus and Alertmanager", () => {
    const address = { host: "192.0.2.9", port: 9090 };
    const files = RENDERERS.prometheus({
      site: "harbour",
      nodes: [{ name: "one", host: "192.0.2.1", port: 8080 }],
      nodesTls: { caFile: "/etc/longshore/tls/ca.pem" },
      balancers: [],
      etcd: [],
      prometheus: address,
      ruleFiles: ["/etc/longshore/monitoring/longshore.yaml"],
    });
    assert.equal(JSON.parse(files["prometheus.yml"]).scrape_configs[0].scheme, "https");
    const mail = { smtp: { host: "mail.example.net", port: 25 }, from: "a@example.net", to: ["b@example.net"] };
    assert.match(RENDERERS.alertmanager({ mail })["alertmanager.yml"], /"smarthost": "mail.example.net:25"/);
  });

  test("the alert rules of this version", () => {
    assert.match(alertRules()["longshore.yaml"] ?? "", /LongshoreSiteServesNobody/);
  });

  test("a misspelt name, a wrong value and what a template refuses end with their place", () => {
    const faults: [Kind, unknown, RegExp][] = [
      ["balancer", { ...balancer, sftpp: [] }, /Unrecognized key.*sftpp/],
      ["balancer", { ...balancer, nodes: [{ ...balancer.nodes[0], sftpPort: 0 }] }, /nodes\[0\]\.sftpPort/],
      ["balancer", { ...balancer, nodes: [{ ...balancer.nodes[0], name: "a b" }] }, /nodes\[0\]\.name/],
      ["node", { ...node, slot: 0 }, /slot: /],
      ["node", { ...node, balancers: ["balancer.example.net"] }, /balancers\[0\]: must be addresses/],
      ["node", 7, /the input: /],
      ["prometheus", {}, /site: /],
    ];
    for (const [kind, input, words] of faults) {
      assert.throws(
        () => RENDERERS[kind](input),
        (error) => error instanceof CliError && words.test(error.message),
        `${kind} ${words}`,
      );
    }
  });

  test("a file that isn't there, isn't JSON, or that the template refuses, is named", () => {
    const directory = mkdtempSync(join(tmpdir(), "longshore-render-"));
    try {
      const file = join(directory, "input.json");
      assert.throws(() => render("balancer", file), /input\.json can't be read/);
      writeFileSync(file, "{");
      assert.throws(() => render("balancer", file), /input\.json isn't JSON/);
      writeFileSync(file, JSON.stringify({ ...balancer, stats: { host: "0.0.0.0", port: 8404 } }));
      assert.throws(() => render("balancer", file), /input\.json: .*loopback only/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test("the command reads standard input, prints JSON of all files, and ends with 2 for bad input", () => {
    const main = fileURLToPath(new URL("../main.js", import.meta.url));
    const run = (input: string, ...args: string[]) =>
      spawnSync(process.execPath, [main, "render", ...args], { input, encoding: "utf8" });
    const good = run(JSON.stringify(balancer), "balancer", "--from", "-", "-o", "json");
    assert.equal(good.status, 0, good.stderr);
    assert.deepEqual(JSON.parse(good.stdout), RENDERERS.balancer(balancer));
    assert.equal(run(JSON.stringify(node), "node", "--from", "-").stdout, RENDERERS.node(node)["settings.json"]);
    const bad = run("{}", "node", "--from", "-");
    assert.equal(bad.status, 2);
    assert.match(bad.stderr, /^longshore: site: /);
    assert.equal(run("", "balancer").status, 2);
  });
});
