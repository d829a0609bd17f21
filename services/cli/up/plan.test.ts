import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EXIT } from "../errors.js";
import { siteLayout } from "../layout.js";
import type { UpOptions } from "./options.js";
import { balancerConfig, decideSite, etcdArguments, nodeSettings, planSite, portsOf, portsToBind } from "./plan.js";
import type { SiteFile } from "./site-file.js";

const options: UpOptions = {
  directory: "/srv/site",
  restart: true,
  prometheus: true,
  accounts: ["partner"],
};
const past: SiteFile = { version: 1, site: "local", mode: "cluster", basePort: 4000, nodes: 5, tls: false };

function plan(change: Partial<UpOptions> = {}) {
  const wanted = { ...options, ...change };
  return planSite(wanted, decideSite(wanted, undefined), siteLayout(wanted.directory));
}

describe("what a site is, from the options and its past", () => {
  test("the first time: three nodes at the default ports", () => {
    assert.deepEqual(decideSite(options, undefined), { ...past, basePort: 2222, nodes: 3 });
  });

  test("the next time: as it was, unless the command line says otherwise", () => {
    assert.deepEqual(decideSite(options, past), past);
    assert.deepEqual(decideSite({ ...options, nodes: 2, basePort: 5000 }, past), { ...past, nodes: 2, basePort: 5000 });
  });

  test("TLS stays on without saying so again, until it is switched off", () => {
    const secured = decideSite({ ...options, tls: true }, undefined);
    assert.equal(decideSite(options, secured).tls, true);
    assert.equal(decideSite({ ...options, tls: false }, secured).tls, false);
    assert.equal(decideSite(options, undefined).tls, false);
  });

  test("a standalone site stays one without saying so again", () => {
    const standalone = decideSite({ ...options, standalone: true }, undefined);
    assert.equal(standalone.nodes, 1);
    assert.equal(decideSite(options, standalone).mode, "standalone");
  });

  test("a directory never changes its mode, for its accounts would be gone", () => {
    assert.throws(() => decideSite({ ...options, standalone: true }, past), { exitCode: EXIT.usage });
  });

  test("a standalone site with several nodes is refused", () => {
    assert.throws(() => decideSite({ ...options, standalone: true, nodes: 2 }, undefined), /one node/);
  });
});

describe("the ports of a site", () => {
  test("are all different and stay within a hundred from the base, for nine nodes too", () => {
    const ports = portsToBind(plan({ nodes: 9, basePort: 10_000 })).map(({ port }) => port);
    assert.equal(new Set(ports).size, ports.length);
    assert.ok(ports.every((port) => port >= 10_000 && port < 10_100));
  });

  test("of a standalone node are the site's own", () => {
    const standalone = plan({ standalone: true, basePort: 10_000 });
    assert.deepEqual(
      portsToBind(standalone).map(({ port }) => port),
      [10_000, 10_002, 10_012],
    );
    assert.equal(portsOf({ basePort: 10_000, nodes: 1, mode: "standalone" }).nodes[0]?.sftp, 10_000);
  });

  test("don't include Prometheus's where it doesn't run", () => {
    const without = portsToBind(plan({ prometheus: false })).map(({ purpose }) => purpose);
    assert.ok(!without.includes("Prometheus"));
  });
});

describe("what the parts are told", () => {
  test("nodes take partners from the balancer on loopback only", () => {
    const cluster = plan();
    const [node] = cluster.nodes;
    assert.ok(node);
    const settings = nodeSettings(cluster, node) as Record<string, unknown>;
    assert.deepEqual(settings.balancers, ["127.0.0.0/8"]);
    assert.deepEqual(settings.coordination, { kind: "etcd", endpoints: ["http://127.0.0.1:2225"] });
  });

  test("a standalone node has its own store and no balancer before it", () => {
    const standalone = plan({ standalone: true });
    const [node] = standalone.nodes;
    assert.ok(node);
    const settings = nodeSettings(standalone, node) as Record<string, unknown>;
    assert.equal(settings.balancers, undefined);
    assert.deepEqual(settings.coordination, { kind: "embedded", directory: "/srv/site/embedded" });
  });

  test("nothing listens beyond loopback", () => {
    const everything = [balancerConfig(plan()), ...etcdArguments(plan())].join("\n");
    for (const [, host] of everything.matchAll(/(?:bind |\/\/)([^:\s]+):\d/g)) assert.equal(host, "127.0.0.1");
  });
});
