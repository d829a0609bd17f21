import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { rootCertificates } from "node:tls";
import { z } from "zod";
import { ROUTES } from "#admin/route-table.js";
import { until } from "#lib/testing.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: { readonly Problem: object } };
}

let site: Site;
let node: Node;
let document: Document;
/** Answers seen, as `operationId status`. */
const seen = new Set<string>();

keepAwake();
before(async () => {
  site = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  node = await site.node("solo", 1);
  await node.ready();
  document = (await node.ask("/api/v1/openapi.json")).body as unknown as Document;
});
after(async () => {
  await node?.process.kill();
  site.remove();
});

function operation(id: string): { path: string; method: string; operation: Operation } {
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, one] of Object.entries(methods))
      if (one.operationId === id) return { path, method, operation: one };
  }
  throw new Error(`the document has no ${id}`);
}

interface Ask {
  readonly names?: Record<string, string>;
  readonly query?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** Asks as the document says, and holds the answer against both the document and the table's strict schema. */
async function ask(id: string, expected: number, { names = {}, query = "", body, headers = {} }: Ask = {}) {
  const { path, method, operation: one } = operation(id);
  const address = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(names[name] ?? ""));
  const answer = await node.ask(`${address}${query}`, { method: method.toUpperCase(), body, headers });
  assert.equal(answer.status, expected, `${id}: ${answer.text}`);
  seen.add(`${id} ${expected}`);
  const response = one.responses[expected];
  assert.ok(response, `${id} says nothing of ${expected}`);
  const [type] = Object.keys(response.content ?? {});
  const content = type === undefined ? undefined : response.content?.[type];
  if (content === undefined) assert.equal(answer.text, "", id);
  else if (type !== "text/plain") {
    const schema = "$ref" in content.schema ? document.components.schemas.Problem : content.schema;
    const told = z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]).safeParse(answer.body);
    assert.ok(told.success, `${id} ${expected}: ${told.error && z.prettifyError(told.error)}\n${answer.text}`);
  }
  const strict = ROUTES.find((route) => route.id === id)?.answers[expected];
  if (strict !== undefined && typeof strict === "object") {
    const held = strict.safeParse(answer.body);
    assert.ok(held.success, `${id} ${expected}: ${held.error && z.prettifyError(held.error)}\n${answer.text}`);
  }
  return answer;
}

test("the answers of every route are as the document says", async () => {
  for (const id of ["live", "ready", "serving", "metrics", "self", "status", "listConnections", "getSite"])
    await ask(id, 200);
  const { etag } = await ask("openapi", 200);
  await ask("openapi", 304, { headers: { "if-none-match": etag ?? "" } });

  const ann = { names: { name: "ann" } };
  const made = await ask("putAccount", 201, { ...ann, body: { password: "a long secret", description: "é" } });
  await ask("putAccount", 200, { ...ann, body: made.body });
  await ask("getAccount", 200, ann);
  await ask("putAccount", 412, { ...ann, body: {}, headers: { "if-match": '"1"' } });
  await ask("putAccount", 422, { ...ann, body: { home: "../x" } });
  await ask("putAccount", 415, { ...ann, body: {}, headers: { "content-type": "text/plain" } });
  await ask("putAccount", 413, { ...ann, body: { description: "x".repeat(1_500_001) } });
  await ask("convergence", 200, { query: `?revision=${made.body.revision}&wait=10` });
  await ask("convergence", 200, { query: "?revision=999999999" });
  await ask("convergence", 400);
  const list = await ask("listAccounts", 200);
  await ask("listAccounts", 304, { headers: { "if-none-match": `"other", W/${list.etag}` } });
  await ask("listAccounts", 401, { headers: { authorization: "Bearer nonsense" } });
  await ask("deleteAccount", 204, ann);
  await ask("deleteAccount", 404, ann);

  const read = await ask("getSite", 200);
  await ask("putSite", 428, { body: read.body });
  await ask("putSite", 200, { body: read.body, headers: { "if-match": read.etag ?? "" } });
  await ask("listNodes", 200);
  await ask("drainNode", 200, { names: { id: "solo" } });
  await ask("undrainNode", 200, { names: { id: "solo" } });
  await ask("drainNode", 404, { names: { id: "nobody" } });

  const group = { names: { name: "partners" } };
  await ask("putGroup", 201, { ...group, body: { maxSessions: 3 } });
  const edited = await ask("getGroup", 200, group);
  await ask("putGroup", 200, { ...group, body: edited.body });
  await ask("listGroups", 200);
  const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q ann@host";
  const sshKey = { names: { name: "delivery" } };
  await ask("putKey", 201, { ...sshKey, body: { kind: "ssh-key", publicKey } });
  await ask("putKey", 200, { ...sshKey, body: { kind: "ssh-key", publicKey, description: "x" } });
  await ask("getKey", 200, sshKey);
  await ask("listKeys", 200);
  const profile = { names: { name: "bank" } };
  const remote = { protocol: "sftp", host: "bank.example", user: "us", hostKeys: [`SHA256:${"A".repeat(43)}`] };
  await ask("putProfile", 201, { ...profile, body: { ...remote, secret: "a password" } });
  const shownProfile = await ask("putProfile", 200, { ...profile, body: { ...remote, port: 2222 } });
  assert.doesNotMatch(shownProfile.text, /a password|sealed/);
  await ask("getProfile", 200, profile);
  await ask("listProfiles", 200);
  const certificate = { names: { name: "web" } };
  const chain = rootCertificates[0] ?? "";
  await ask("putCertificate", 201, { ...certificate, body: { chain } });
  await ask("putCertificate", 200, { ...certificate, body: { chain, description: "x" } });
  await ask("getCertificate", 200, certificate);
  await ask("listCertificates", 200);
  const { body: config, etag: whole } = await ask("getConfig", 200);
  await ask("diffConfig", 200, { body: config.document });
  await ask("putConfig", 200, { body: config.document, headers: { "if-match": whole ?? "" } });
  const { body: history } = await ask("configHistory", 200);
  const [change] = history.changes as { revision: number; by: string }[];
  assert.equal(change?.by, "site token");
  await ask("rollbackConfig", 200, { body: { revision: change?.revision, dryRun: true } });
  await ask("rotateClusterKey", 200);
  for (const [id, ask204] of [
    ["deleteCertificate", certificate],
    ["deleteProfile", profile],
    ["deleteKey", sshKey],
    ["deleteGroup", group],
  ] as const)
    await ask(id, 204, ask204);

  const ada = { names: { name: "ada" } };
  await ask("putAdministrator", 201, { ...ada, body: { role: "operator", description: "x" } });
  await ask("putAdministrator", 200, { ...ada, body: { role: "viewer" } });
  const token = await ask("makeToken", 201, { ...ada, body: { scopes: ["read"], expiresAt: "2199-01-01T00:00:00Z" } });
  await ask("getAdministrator", 200, ada);
  await ask("listAdministrators", 200);
  const secret = { authorization: `Bearer ${token.body.token}` };
  await ask("convergence", 200, { query: `?revision=${token.body.revision}&wait=10` });
  await ask("self", 200, { headers: secret });
  await ask("deleteAdministrator", 403, { ...ada, headers: secret });
  await ask("revokeToken", 204, { names: { name: "ada", id: String(token.body.id) } });
  await ask("revokeToken", 404, { names: { name: "ada", id: String(token.body.id) } });
  await ask("deleteAdministrator", 204, ada);
});

test("bans, lockouts, sessions, transfers and the audit log answer as the document says", async () => {
  const address = { names: { address: "203.0.113.9" } };
  await ask("addBan", 201, { body: { address: "203.0.113.9", seconds: 60, reason: "test" } });
  await ask("addBan", 422, { body: { address: "somewhere" } });
  await ask("listBans", 200);
  await ask("removeBan", 204, address);
  await ask("removeBan", 404, address);
  await ask("listLockouts", 200);
  await ask("removeLockout", 404, { names: { account: "nobody" } });
  await ask("listSessions", 200);
  await ask("killSession", 404, { names: { id: "0123456789ab" } });
  await ask("listTransfers", 200);
  await ask("searchAudit", 200, { query: "?kind=admin&limit=5" });
  await ask("auditAnchors", 200);
});

test("the usage of folders with a quota, and its recount, answer as the document says", async () => {
  const folders = [{ path: "/in", target: "metered/in", quotaBytes: 1_000 }];
  const put = await node.ask("/api/v1/accounts/metered", { method: "PUT", body: { folders } });
  assert.equal(put.status, 201, put.text);
  await until(
    "it is metered",
    async () => {
      const { folders: shown } = (await ask("listUsage", 200)).body as { folders: unknown[] };
      return shown.length === 1;
    },
    { deadlineMs: 10_000 },
  );
  await ask("recountUsage", 202, { body: { target: "metered/in" } });
  await ask("recountUsage", 422, { body: { target: "elsewhere" } });
  await ask("recountUsage", 422, { body: { target: "../x" } });
  assert.equal((await node.ask("/api/v1/accounts/metered", { method: "DELETE" })).status, 204);
});

test("the active node and the trial of the storage answer as the document says", async () => {
  const setMode = async (mode: string) => {
    const { body, etag } = await ask("getSite", 200);
    await ask("putSite", 200, { body: { ...body, mode }, headers: { "if-match": etag ?? "" } });
  };
  await setMode("active-passive");
  await until(
    "it is the active one",
    async () => {
      const { active } = (await ask("getActive", 200)).body as { active: { name: string } | null };
      return active?.name === "solo";
    },
    { deadlineMs: 10_000 },
  );
  const { body } = await ask("switchActive", 200, { body: { to: "solo" } });
  assert.equal(body.switched, false);
  await setMode("active-active");
  const name = "0123456789abcdef";
  for (const act of ["create", "look", "remove"]) await ask("tryStorage", 200, { body: { name, act } });
  await ask("tryStorage", 422, { body: { name: "../x", act: "create" } });
});

test("no answer that the table promises went unseen", () => {
  const promised = ROUTES.flatMap(({ id, answers }) => Object.keys(answers).map((status) => `${id} ${status}`));
  // A node that isn't ready says so on these; node.test.ts looks at it.
  // What needs a partner is in brute-force.test.ts and security-cli.test.ts; archives are in backup.test.ts.
  const elsewhere = new Set([
    "ready 503",
    "serving 503",
    "removeLockout 204",
    "killSession 200",
    "backup 200",
    "restore 200",
  ]);
  assert.deepEqual(
    promised.filter((one) => !seen.has(one) && !elsewhere.has(one)),
    [],
  );
});

test("a list comes in pages that the Link header and `next` lead through, each with an ETag", async () => {
  const names = Array.from({ length: 25 }, (_, at) => `partner${String(at).padStart(2, "0")}`);
  await Promise.all(names.map((name) => node.ask(`/api/v1/accounts/${name}`, { method: "PUT", body: {} })));
  const found: string[] = [];
  const tags = new Set<string | null>();
  let address: string | undefined = "/api/v1/accounts?limit=10";
  let pages = 0;
  while (address !== undefined) {
    const response: Response = await fetch(new URL(address, node.url), {
      headers: { authorization: `Bearer ${node.token}` },
    });
    const body = (await response.json()) as { accounts: { name: string }[]; next?: string };
    found.push(...body.accounts.map(({ name }) => name));
    tags.add(response.headers.get("etag"));
    const link: string | null = response.headers.get("link");
    assert.equal(link === null, body.next === undefined);
    address = link === null ? undefined : /^<([^>]+)>; rel="next"$/.exec(link)?.[1];
    // An account that is removed between two pages takes no other one with it.
    if (++pages === 1) await node.ask("/api/v1/accounts/partner09", { method: "DELETE" });
  }
  assert.deepEqual(found, names);
  assert.equal(pages, 3);
  assert.equal(tags.size, 3);
  for (const query of [
    "limit=0",
    "limit=1001",
    "limit=x",
    "cursor=",
    "cursor=%2F",
    "cursor=AAB",
    "page=2",
    "limit=1&limit=2",
  ]) {
    assert.equal((await node.ask(`/api/v1/accounts?${query}`)).status, 400, query);
  }
});

test("the method can't be overridden", async () => {
  const headers = { "x-http-method-override": "DELETE" };
  assert.equal((await node.ask("/api/v1/accounts/partner01", { headers })).status, 400);
  assert.equal((await node.ask("/api/v1/accounts/partner01")).status, 200);
});
