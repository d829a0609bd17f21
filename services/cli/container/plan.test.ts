import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { environmentSchema, readEnvironment, readNodeEnvironment } from "./environment.js";
import {
  addressOf,
  adminNames,
  alertmanagerConfig,
  BALANCERS,
  balancerConfig,
  MEMBERS,
  MONITORING,
  nodeSettings,
  prometheusConfig,
  SLOTS,
  siteFile,
} from "./plan.js";

const repository = new URL("../../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, repository), "utf8");
const composeFile = read("compose/compose.yaml");
const standaloneFile = read("compose/compose.standalone.yaml");

/** The text of one service in a compose file. */
function service(text: string, name: string): string {
  const services = text.slice(text.indexOf("\nservices:"));
  const found = new RegExp(`^ {2}${name}:\\n(?:(?: {4}.*)?\\n)+`, "m").exec(services)?.[0];
  assert.ok(found, `there is a service ${name}`);
  return found;
}

describe("what containers are configured with", () => {
  test("the balancers know all six slots, so that an added node needs no reload", () => {
    const config = balancerConfig(readEnvironment({}));
    for (const slot of SLOTS)
      assert.match(config, new RegExp(`server node-${slot} 172\\.31\\.83\\.${30 + slot}:2222 `));
    assert.match(config, /frontend metrics\n {2}bind 0\.0\.0\.0:8405/);
    assert.match(config, /frontend stats\n {2}bind 127\.0\.0\.1:/);
  });

  test("a node trusts the PROXY header of the two balancers and of nobody else, and asks etcd with a certificate", () => {
    const env = readNodeEnvironment({
      LONGSHORE_NET: "198.18.10",
      LONGSHORE_NODE_NAME: "node-4",
      LONGSHORE_NODE_SLOT: "4",
    });
    const settings = JSON.parse(JSON.stringify(nodeSettings(env)));
    assert.deepEqual(settings.balancers, ["198.18.10.21", "198.18.10.22"]);
    assert.equal(settings.sftp.host, "198.18.10.34");
    assert.equal(settings.coordination.endpoints[2], "https://198.18.10.13:2379");
    assert.equal(settings.coordination.tls.keyFile, "/etc/longshore/node/etcd-client.key");
  });

  test("a directory of the host may be a network's: it counts as local only where the operator says so", () => {
    const local = (env: NodeJS.ProcessEnv) => {
      const node = { LONGSHORE_NODE_NAME: "node-1", LONGSHORE_NODE_SLOT: "1" };
      return JSON.parse(JSON.stringify(nodeSettings(readNodeEnvironment({ ...node, ...env })))).storage.local;
    };
    assert.equal(local({}), true);
    assert.equal(local({ LONGSHORE_STORAGE: "/mnt/files" }), false);
    assert.equal(local({ LONGSHORE_STORAGE: "/mnt/files", LONGSHORE_STORAGE_LOCAL: "true" }), true);
  });

  test("a single node has its own store, and takes plain connections", () => {
    const env = readNodeEnvironment({
      LONGSHORE_STORE: "embedded",
      LONGSHORE_NODE_NAME: "node-1",
      LONGSHORE_NODE_SLOT: "1",
    });
    const settings = JSON.parse(JSON.stringify(nodeSettings(env)));
    assert.equal(settings.coordination.kind, "embedded");
    assert.equal(settings.balancers, undefined);
    assert.equal(siteFile(readEnvironment({ LONGSHORE_STORE: "embedded" })).etcd, undefined);
  });

  test("Prometheus scrapes everything, with the site's name on it", () => {
    const { scrape_configs: jobs } = JSON.parse(prometheusConfig(readEnvironment({ LONGSHORE_SITE: "north" })));
    const targets = new Map(
      jobs.map((job: { job_name: string; static_configs: unknown[] }) => [job.job_name, job.static_configs]),
    );
    assert.deepEqual([...targets.keys()], ["longshore", "haproxy", "etcd", "prometheus", "alertmanager"]);
    assert.equal((targets.get("longshore") as unknown[]).length, SLOTS.length);
    assert.deepEqual((targets.get("etcd") as unknown[])[0], {
      targets: ["172.31.83.11:2381"],
      labels: { site: "north", member: "etcd-1" },
    });
  });

  test("the admin API speaks TLS everywhere, with a certificate for each address that it is reached at", () => {
    const env = readEnvironment({ LONGSHORE_NET: "198.18.10", LONGSHORE_SUBNET: "198.18.10.0/24" });
    assert.match(
      balancerConfig(env),
      /listen admin\n {2}bind 0\.0\.0\.0:8080 ssl crt \/etc\/longshore\/balancer\/admin\.pem/,
    );
    assert.equal(balancerConfig(env).match(/ check-ssl verify required /g)?.length, 2 * SLOTS.length);
    const { adminUrl, adminUrls } = siteFile(env);
    const names = ["balancer", "node"] as const;
    const good = new Set(names.flatMap((kind) => adminNames("198.18.10", kind)));
    for (const url of [adminUrl, ...adminUrls]) {
      const { protocol, hostname } = new URL(url);
      assert.equal(protocol, "https:");
      assert.ok(good.has(`IP:${hostname}`), hostname);
    }
    const [job] = JSON.parse(prometheusConfig(env)).scrape_configs;
    assert.deepEqual(job.tls_config, { ca_file: "/etc/longshore/monitoring/admin-ca.pem" });
  });

  test("a mail server's password is in no configuration", () => {
    const env = readEnvironment({
      LONGSHORE_ALERT_MAIL_TO: "a@example.net,b@example.net",
      LONGSHORE_ALERT_MAIL_FROM: "longshore@example.net",
      LONGSHORE_ALERT_MAIL_SERVER: "mail.example.net:587",
      LONGSHORE_ALERT_MAIL_USER: "longshore",
    });
    const [receiver] = JSON.parse(alertmanagerConfig(env)).receivers;
    assert.equal(receiver.email_configs[0].smarthost, "mail.example.net:587");
    assert.equal(receiver.email_configs[0].auth_password_file, "/run/secrets/alert_mail_password");
  });

  test("the command tells the host's ports, and asks inside", () => {
    const site = siteFile(readEnvironment({ LONGSHORE_SFTP_PORT_2: "2300", COMPOSE_PROFILES: "monitoring" }));
    assert.deepEqual(site.fronts[1]?.published, { host: "127.0.0.1", port: 2300 });
    assert.deepEqual(site.fronts[1]?.inside, { host: "172.31.83.22", port: 2222 });
    assert.equal(site.adminUrls[0], "https://172.31.83.21:8080");
    assert.deepEqual(site.monitoring, { prometheus: "http://127.0.0.1:9090", alertmanager: "http://127.0.0.1:9093" });
    const named = siteFile(readEnvironment({ LONGSHORE_PUBLIC_HOST: "sftp.example.net" }));
    assert.equal(named.fronts[0]?.published.host, "sftp.example.net");
  });
});

describe("compose.yaml says the same", () => {
  test("each container has the address that the others expect it at", () => {
    const net = `\${LONGSHORE_NET:-172.31.83}`;
    const expected: [string, string][] = [
      ...MEMBERS.map((index): [string, string] => [`etcd-${index}`, addressOf(net, "etcd", index)]),
      ...BALANCERS.map((index): [string, string] => [`balancer-${index}`, addressOf(net, "balancer", index)]),
      ...SLOTS.map((slot): [string, string] => [`node-${slot}`, addressOf(net, "node", slot)]),
      ...Object.entries(MONITORING).map(([name, host]): [string, string] => [name, `${net}.${host}`]),
    ];
    for (const [name, address] of expected) {
      assert.ok(service(composeFile, name).includes(`ipv4_address: "${address}"`), `${name} is at ${address}`);
    }
  });

  test("each slot's node is told its own name and slot, and keeps its own disk", () => {
    for (const slot of SLOTS) {
      const text = service(composeFile, `node-${slot}`);
      for (const words of [
        `LONGSHORE_NODE_NAME: node-${slot}`,
        `LONGSHORE_NODE_SLOT: "${slot}"`,
        `"node-${slot}:/var/lib`,
      ])
        assert.ok(text.includes(words), words);
      assert.equal(text.includes(`profiles: [node-${slot}]`), slot > 3);
    }
  });

  test("`setup` hears of every setting that it checks", () => {
    const text = service(composeFile, "setup") + composeFile.slice(0, composeFile.indexOf("\nservices:"));
    const unheard = Object.keys(environmentSchema.shape).filter(
      (name) => name !== "LONGSHORE_STORE" && !text.includes(`${name}: \${${name}:-`),
    );
    assert.deepEqual(unheard, []);
  });

  test("env.example describes every setting, with its default", () => {
    const example = read("compose/env.example");
    const used = new Map<string, string>();
    for (const [, name = "", fallback = ""] of `${composeFile}${standaloneFile}`.matchAll(/\$\{(\w+):-([^}]*)\}/g)) {
      if (fallback !== "" && fallback !== "longshore-standalone") used.set(name, fallback);
      else if (!used.has(name)) used.set(name, "");
    }
    for (const [name, fallback] of used) {
      const line = new RegExp(`^#${name}=(.*)$`, "m").exec(example);
      assert.ok(line, `${name} is in env.example`);
      if (fallback !== "") assert.equal(line[1], fallback, name);
    }
    const described = [...example.matchAll(/^#([A-Z]\w+)=/gm)].map(([, name = ""]) => name);
    const unused = described.filter((name) => !used.has(name) && name !== "COMPOSE_FILE");
    assert.deepEqual(unused, []);
  });

  test("images are of this version", () => {
    const { version } = JSON.parse(read("package.json"));
    for (const text of [composeFile, standaloneFile]) {
      const versions = [...text.matchAll(/LONGSHORE_VERSION:-([^}]*)\}/g)].map(([, found]) => found);
      assert.deepEqual([...new Set(versions)], [version]);
    }
  });
});
