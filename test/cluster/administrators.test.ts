import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

const CLI = fileURLToPath(new URL("../../services/cli/main.js", import.meta.url));

let etcd: EtcdCluster;
let site: Site;
let alpha: Node;
let beta: Node;

keepAwake();
before(async () => {
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  [alpha, beta] = await Promise.all([site.node("alpha", 1), site.node("beta", 2)]);
  await Promise.all([alpha.ready(), beta.ready()]);
});
after(async () => {
  await Promise.all([alpha, beta].map((node) => node?.process.kill()));
  await etcd.stop();
  site.remove();
});

const api = (path: string) => `/api/v1/administrators${path}`;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

async function make(name: string, role: string, token: object = {}): Promise<string> {
  const put = await alpha.ask(api(`/${name}`), { method: "PUT", body: { role } });
  assert.ok(put.status === 201 || put.status === 200, put.text);
  const made = await alpha.ask(api(`/${name}/tokens`), { method: "POST", body: token });
  assert.equal(made.status, 201, made.text);
  const revision = Number(made.body.revision);
  const { body } = await beta.ask(`/api/v1/cluster/convergence?revision=${revision}&wait=10`);
  assert.equal(body.converged, true);
  return String(made.body.token);
}

async function status(node: Node, token: string, path: string, method = "GET", body?: unknown): Promise<number> {
  return (await node.ask(path, { method, headers: bearer(token), ...(body === undefined ? {} : { body }) })).status;
}

test("a token that was made through one node opens the others, within its role", async () => {
  const viewer = await make("vera", "viewer");
  const operator = await make("otto", "operator");
  const admin = await make("ada", "admin");
  for (const node of [alpha, beta]) {
    for (const token of [viewer, operator, admin]) assert.equal(await status(node, token, "/api/v1/status"), 200);
    assert.equal(await status(node, viewer, "/api/v1/nodes/nobody/drain", "POST"), 403);
    assert.equal(await status(node, operator, "/api/v1/nodes/nobody/drain", "POST"), 404);
    assert.equal(await status(node, operator, "/api/v1/accounts/ann", "PUT", {}), 403);
    assert.equal(await status(node, operator, api("/otto"), "PUT", { role: "admin" }), 403);
  }
  assert.equal(await status(beta, admin, "/api/v1/accounts/ann", "PUT", {}), 201);
  const self = await beta.ask("/api/v1/self", { headers: bearer(operator) });
  assert.equal(self.body.name, "otto");
  assert.equal(self.body.role, "operator");
});

test("a scope narrows a token below its role", async () => {
  const reads = await make("sam", "admin", { scopes: ["read"] });
  assert.equal(await status(beta, reads, "/api/v1/accounts"), 200);
  assert.equal(await status(beta, reads, "/api/v1/accounts/ben", "PUT", {}), 403);
  const accounts = await make("sam", "admin", { scopes: ["accounts"] });
  assert.equal(await status(beta, accounts, "/api/v1/accounts/ben", "PUT", {}), 201);
  assert.equal(await status(beta, accounts, "/api/v1/site"), 403);
  // Whoever could make administrators could make himself one of all scopes.
  const config = await make("sam", "admin", { scopes: ["config", "accounts", "nodes", "security", "backup", "read"] });
  assert.equal(await status(beta, config, api("/sam/tokens"), "POST", {}), 403);
  assert.equal(await status(beta, config, api("/mallory"), "PUT", { role: "admin" }), 403);
});

test("revoked, disabled and demoted: in force on every node within a second", async () => {
  const token = await make("eve", "admin");
  const id = token.split("_")[1];
  assert.equal(await status(alpha, token, "/api/v1/site"), 200);
  assert.equal((await alpha.ask(api(`/eve/tokens/${id}`), { method: "DELETE" })).status, 204);
  for (const node of [alpha, beta]) {
    await until("it is revoked", async () => (await status(node, token, "/api/v1/site")) === 401, {
      deadlineMs: 1_000,
    });
  }
  const next = await make("eve", "admin");
  await alpha.ask(api("/eve"), { method: "PUT", body: { role: "viewer" } });
  const demoted = async () => (await status(beta, next, "/api/v1/nodes/nobody/drain", "POST")) === 403;
  await until("she is a viewer", demoted, { deadlineMs: 1_000 });
  await alpha.ask(api("/eve"), { method: "PUT", body: { role: "viewer", enabled: false } });
  await until("she is disabled", async () => (await status(beta, next, "/api/v1/status")) === 401, {
    deadlineMs: 1_000,
  });
});

test("an expired token is refused, and one that ends in the past isn't made", async () => {
  const past = await alpha.ask(api("/vera/tokens"), { method: "POST", body: { expiresAt: "2020-01-01T00:00:00Z" } });
  assert.equal(past.status, 422);
  const token = await make("vera", "viewer", { expiresAt: new Date(Date.now() + 3_000).toISOString() });
  assert.equal(await status(beta, token, "/api/v1/status"), 200);
  await until("it is expired", async () => (await status(beta, token, "/api/v1/status")) === 401, {
    deadlineMs: 5_000,
  });
});

test("no answer, no log and no store entry holds a token or, outside of the store, its hash", async () => {
  const token = await make("vera", "viewer");
  const secret = token.slice(17);
  const shown = await beta.ask(api("/vera"));
  assert.equal(shown.status, 200);
  assert.doesNotMatch(shown.text, /hash/);
  for (const text of [shown.text, alpha.process.output, beta.process.output]) assert.ok(!text.includes(secret));
});

test("refusals are logged with the address and counted by reason", async () => {
  assert.equal(await status(beta, "lsa_000000000000_nope", "/api/v1/status"), 401);
  await until("it is logged", () => /an admin request was refused.*127\.0\.0\.1/.test(beta.process.output), {
    deadlineMs: 2_000,
  });
  const { text } = await beta.ask("/metrics");
  assert.match(text, /^longshore_admin_refusals_total\{reason="unknown"\} [1-9]/m);
  assert.match(text, /^longshore_admin_refusals_total\{reason="role"\} [1-9]/m);
});

test("the last enabled admin can't be removed, disabled or demoted, not even by two requests at once", async () => {
  const { body } = await alpha.ask(api(""));
  for (const { name } of body.administrators as { name: string }[]) {
    if (name !== "ada") assert.equal((await alpha.ask(api(`/${name}`), { method: "DELETE" })).status, 204);
  }
  for (const node of [alpha, beta]) {
    assert.equal((await node.ask(api("/ada"), { method: "DELETE" })).status, 422);
    assert.equal((await node.ask(api("/ada"), { method: "PUT", body: { role: "operator" } })).status, 422);
    const off = await node.ask(api("/ada"), { method: "PUT", body: { role: "admin", enabled: false } });
    assert.equal(off.status, 422);
    assert.match(off.text, /last enabled administrator/);
  }
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      ["ada", "bob"].map((name) => alpha.ask(api(`/${name}`), { method: "PUT", body: { role: "admin" } })),
    );
    const results = await Promise.all([
      alpha.ask(api("/ada"), { method: "DELETE" }),
      beta.ask(api("/bob"), { method: "PUT", body: { role: "viewer" } }),
    ]);
    const done = results.filter((result) => result.status < 300).length;
    assert.equal(done, 1, results.map((result) => result.text).join("\n"));
  }
});

test("a stale write of an administrator is refused", async () => {
  await alpha.ask(api("/zoe"), { method: "PUT", body: { role: "viewer" } });
  const { etag } = await alpha.ask(api("/zoe"));
  await beta.ask(api("/zoe"), { method: "PUT", body: { role: "operator" } });
  const headers = { "if-match": etag ?? "" };
  assert.equal((await alpha.ask(api("/zoe"), { method: "PUT", body: { role: "admin" }, headers })).status, 412);
  assert.equal((await alpha.ask(api("/zoe"), { method: "DELETE", headers })).status, 412);
  const create = { method: "PUT", body: { role: "admin" }, headers: { "if-none-match": "*" } };
  assert.equal((await alpha.ask(api("/zoe"), create)).status, 412);
});

test("the command line makes an administrator, his token, and takes both away", () => {
  const tokenFile = join(site.directory, "token");
  const longshore = (file: string, ...args: string[]) => {
    const where = ["--url", beta.url, "--token-file", file];
    const {
      status: code,
      stdout,
      stderr,
    } = spawnSync(process.execPath, [CLI, ...args, ...where], { encoding: "utf8" });
    return { code, stdout, stderr };
  };
  assert.equal(longshore(tokenFile, "admin", "add", "cleo", "--role", "operator").code, 0);
  assert.equal(longshore(tokenFile, "admin", "add", "cleo", "--role", "operator").code, 6);
  const made = longshore(tokenFile, "admin", "token", "add", "cleo", "--scope", "nodes", "--days", "1");
  assert.match(made.stdout, /^lsa_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n$/, made.stderr);
  const own = join(site.directory, "cleo");
  writeFileSync(own, made.stdout);
  const self = JSON.parse(longshore(own, "admin", "whoami", "-o", "json").stdout) as Record<string, unknown>;
  assert.equal(self.name, "cleo");
  assert.deepEqual(self.scopes, ["nodes"]);
  assert.equal(longshore(own, "node", "list").code, 0);
  assert.equal(longshore(own, "account", "list").code, 4);
  assert.equal(longshore(own, "admin", "remove", "cleo").code, 4);
  assert.match(longshore(tokenFile, "admin", "list").stdout, /^cleo +operator +true +1 /m);
  assert.equal(longshore(tokenFile, "admin", "token", "revoke", "cleo", String(self.tokenId)).code, 0);
  assert.equal(longshore(tokenFile, "admin", "token", "revoke", "cleo", String(self.tokenId)).code, 3);
  assert.equal(longshore(tokenFile, "admin", "remove", "cleo").code, 0);
  assert.equal(longshore(tokenFile, "admin", "remove", "cleo").code, 3);
});
