import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

let etcd: EtcdCluster;
let site: Site;
let alpha: Node;
let beta: Node;

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
});
after(async () => {
  await Promise.all([alpha, beta].map((node) => node?.process.kill()));
  await etcd.stop();
  site.remove();
});

test("nodes that start before the store answer their health checks, and are ready soon after it is there", async () => {
  const [member] = etcd.members;
  assert.ok(member);
  await member.kill();
  [alpha, beta] = await Promise.all([site.node("alpha", 1), site.node("beta", 2)]);
  await until("alpha answers", async () => (await alpha.ask("/health/live")).status === 200, { deadlineMs: 20_000 });
  const { status, body } = await alpha.ask("/health/ready");
  assert.equal(status, 503);
  assert.equal(body.state, "joining");
  assert.match(String(body.reasons), /the coordination store doesn't answer/);
  await until("alpha says that it waits", () => /waiting for the coordination store/.test(alpha.process.output), {
    deadlineMs: 15_000,
  });
  await member.restart();
  await Promise.all([alpha.ready(), beta.ready()]);
});

test("an account written through one node is read from the other at once; its password never comes back", async () => {
  const made = await alpha.ask("/api/v1/accounts/ann", { method: "PUT", body: { password: "a long secret" } });
  assert.equal(made.status, 201);
  const read = await beta.ask("/api/v1/accounts/ann");
  assert.equal(read.body.hasPassword, true);
  assert.equal(read.etag, made.etag);
  assert.doesNotMatch(read.text + made.text, /argon2|passwordHash|a long secret/);
  await until(
    "both have it in force",
    async () => {
      const { body } = await beta.ask(`/api/v1/cluster/convergence?revision=${made.body.revision}`);
      return body.converged;
    },
    { deadlineMs: 1_000 },
  );
});

test("an account can be edited as it was read: its password stays; null takes it away", async () => {
  const { body } = await alpha.ask("/api/v1/accounts/ann");
  const edited = await alpha.ask("/api/v1/accounts/ann", { method: "PUT", body: { ...body, description: "edited" } });
  assert.equal(edited.status, 200);
  assert.equal(edited.body.hasPassword, true);
  const bare = await alpha.ask("/api/v1/accounts/ann", { method: "PUT", body: { password: null } });
  assert.equal(bare.body.hasPassword, false);
});

test("a stale or conflicting write is refused with the current revision", async () => {
  const { etag, body } = await alpha.ask("/api/v1/accounts/ann");
  await beta.ask("/api/v1/accounts/ann", { method: "PUT", body: { description: "from beta" } });
  const put = { method: "PUT", body: { description: "from alpha" } };
  const stale = await alpha.ask("/api/v1/accounts/ann", { ...put, headers: { "if-match": etag ?? "" } });
  assert.equal(stale.status, 412);
  assert.ok(Number(stale.body.currentRevision) > Number(body.revision));
  assert.equal((await alpha.ask("/api/v1/accounts/ann", { ...put, headers: { "if-none-match": "*" } })).status, 412);
});

test("what isn't valid, known or allowed is refused with a problem that says why", async () => {
  const invalid = await alpha.ask("/api/v1/accounts/ann", { method: "PUT", body: { home: "../x", shell: "/bin/sh" } });
  assert.equal(invalid.status, 422);
  assert.match(invalid.text, /"path":"home"/);
  assert.match(invalid.text, /shell/);
  assert.equal((await alpha.ask("/api/v1/accounts/nobody")).status, 404);
  assert.equal((await alpha.ask("/api/v1/accounts/nobody", { method: "DELETE" })).status, 404);
  assert.equal((await alpha.ask("/api/v1/accounts/-x", { method: "PUT", body: {} })).status, 422);
  assert.equal((await alpha.ask("/api/v1/nothing")).status, 404);
  assert.equal((await alpha.ask("/api/v1/accounts", { method: "POST" })).status, 405);
  for (const path of ["/api/v1/accounts", "/api/v1/status", "/api/v1/nodes", "/api/v1/site", "/api/v1/nothing"]) {
    assert.equal((await alpha.ask(path, { headers: { authorization: "Bearer wrong" } })).status, 401, path);
  }
});

test("site settings are written against the revision that was read", async () => {
  const { body, etag } = await alpha.ask("/api/v1/site");
  const changed = { ...body, durability: "power" };
  assert.equal((await alpha.ask("/api/v1/site", { method: "PUT", body: changed })).status, 428);
  const put = { method: "PUT", body: changed, headers: { "if-match": etag ?? "" } };
  assert.equal((await alpha.ask("/api/v1/site", put)).body.durability, "power");
  assert.equal((await beta.ask("/api/v1/site", put)).status, 412);
});

test("a drained node leaves the balancer but goes on serving, until it is undrained", async () => {
  assert.equal((await alpha.ask("/api/v1/nodes/beta/drain", { method: "POST" })).status, 200);
  await until("beta drains", async () => (await beta.state()) === "draining", { deadlineMs: 1_000 });
  assert.equal((await beta.ask("/health/serving")).status, 200);
  assert.equal(await text(connect(beta.agentPort, "127.0.0.1")), "drain\n");
  await until(
    "alpha sees it",
    async () => {
      const { nodes } = (await alpha.ask("/api/v1/nodes")).body as { nodes: { name: string; state: string }[] };
      return nodes.some(({ name, state }) => name === "beta" && state === "draining");
    },
    { deadlineMs: 3_000 },
  );
  assert.equal((await beta.ask("/api/v1/nodes/beta/undrain", { method: "POST" })).status, 200);
  await beta.ready();
  assert.equal(await text(connect(beta.agentPort, "127.0.0.1")), "ready up\n");
});

test("a node that is killed with -9 is ready again under its own slot", async () => {
  await alpha.process.kill();
  alpha.launch();
  await alpha.ready();
});

test("while the store is away a node is cut off, accepts no change, and comes back by itself", async (t) => {
  const [member] = etcd.members;
  assert.ok(member);
  member.stop();
  t.after(() => member.cont());
  await until("beta is cut off", async () => (await beta.state()) === "cut-off", { deadlineMs: 4_000 });
  // Its sessions go on, but new ones go elsewhere as long as there is an elsewhere.
  assert.equal((await beta.ask("/health/serving")).status, 200);
  assert.equal(await text(connect(beta.agentPort, "127.0.0.1")), "drain\n");
  assert.equal((await beta.ask("/api/v1/accounts/x", { method: "PUT", body: {} })).status, 503);
  assert.match((await beta.ask("/metrics")).text, /^longshore_lease_usable 0$/m);
  member.cont();
  await beta.ready();
});

test("a storage that is another site's is noticed, said, and makes the node cut off", async () => {
  const sentinel = join(site.directory, "storage", ".longshore", "site");
  // The store was away for the test before: alpha may still be cut off for that.
  await alpha.ready();
  const { body } = await alpha.ask("/api/v1/site");
  writeFileSync(sentinel, "another\n");
  await until("alpha is cut off", async () => (await alpha.state()) === "cut-off", { deadlineMs: 5_000 });
  assert.match(String((await alpha.ask("/health/ready")).body.reasons), /storage belongs to another site/);
  writeFileSync(sentinel, `${String(body.id)}\n`);
  await alpha.ready();
});

test("a node with a living one's slot, or another cluster key, ends with 78 and one line that says what to change", async () => {
  const slot = await site.node("gamma", 2);
  assert.equal(await slot.process.exited, 78);
  assert.match(slot.process.output, /^longshore-node: the slot 2 belongs to another node, "beta".*$/m);
  const key = join(site.directory, "other-key");
  writeFileSync(key, Buffer.alloc(32, 1).toString("base64"));
  const foreign = await site.node("delta", 4, { clusterKeyFile: key });
  assert.equal(await foreign.process.exited, 78);
  assert.match(foreign.process.output, /^longshore-node: clusterKeyFile: this node's cluster key isn't the site's.*$/m);
  const faulty = await site.node("epsilon", 5, { slot: "five", drainms: 1 });
  assert.equal(await faulty.process.exited, 78);
  assert.match(faulty.process.output, /^longshore-node: --config: .*drainms.*slot/m);
});

test("SIGTERM ends a node cleanly, and its keys with it", async () => {
  beta.process.signal("SIGTERM");
  assert.equal(await beta.process.exited, 0);
  assert.match(beta.process.output, /"the node has ended"/);
  assert.doesNotMatch(beta.process.output, /"level":"error"/, "a stop is no fault");
  await until("alpha sees it gone", async () => !/"name":"beta"/.test((await alpha.ask("/api/v1/nodes")).text), {
    deadlineMs: 2_000,
  });
});

test("a standalone node needs nothing but itself, and keeps its accounts over kill -9", async (t) => {
  const alone = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  const node = await alone.node("solo", 1);
  t.after(async () => {
    await node.process.kill();
    alone.remove();
  });
  await node.ready();
  assert.equal((await node.ask("/api/v1/accounts/ann", { method: "PUT", body: {} })).status, 201);
  await node.process.kill();
  node.launch();
  await node.ready();
  assert.equal((await node.ask("/api/v1/accounts/ann")).status, 200);
  assert.ok(readdirSync(join(alone.directory, "store")).length > 0);
  node.process.signal("SIGTERM");
  assert.equal(await node.process.exited, 0);
});
