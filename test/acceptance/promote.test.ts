import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { endpointsSchema } from "#cli/endpoints.js";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { type RawSftp, RawSftp as Session } from "../support/clients/raw-sftp.js";
import { start } from "../support/processes.js";
import { LONGSHORE, longshore, type Site, startSite } from "../support/site.js";

/** `longshore promote` and `demote` on a real site of `longshore up`, there and back, killed in the middle as well. */

const CONTENT = bytes(3_000_000, "promote");
const PASSWORD = "ann-Pa55 word";

let site: Site;
let hostKeys: string;
let siteId: unknown;
let accounts: unknown;

before(async () => {
  site = await startSite({ standalone: true });
  await site.addAccount("ann", { password: PASSWORD, description: "kept" });
  const session = await login();
  await session.put("/invoice", CONTENT);
  await session.end();
  hostKeys = readFileSync(join(site.directory, "known_hosts"), "utf8");
  siteId = ((await site.admin("/api/v1/site")) as { id: unknown }).id;
  accounts = await accountsNow();
});
after(() => site?.stop());

function login(): Promise<RawSftp> {
  const { host, port } = site.endpoints().sftp;
  return Session.connect({ host, port, user: "ann", password: PASSWORD, deadlineMs: 10_000 });
}

async function accountsNow(): Promise<unknown> {
  const { accounts: list } = (await site.admin("/api/v1/accounts")) as { accounts: Record<string, unknown>[] };
  return list.map(({ revision: _revision, ...account }) => account);
}

function mode(): unknown {
  return (JSON.parse(readFileSync(join(site.directory, "site.json"), "utf8")) as { mode: unknown }).mode;
}

/** The same partners, the same files, the same server, at the same address. */
async function asBefore(more: string): Promise<void> {
  assert.equal(readFileSync(join(site.directory, "known_hosts"), "utf8"), hostKeys, "host keys and address");
  assert.equal(((await site.admin("/api/v1/site")) as { id: unknown }).id, siteId);
  assert.deepEqual(await accountsNow(), accounts);
  const session = await login();
  const sha = (content: Buffer) => createHash("sha256").update(content).digest("hex");
  assert.equal(sha(await session.get("/invoice")), sha(CONTENT));
  await session.put(more, CONTENT);
  assert.equal(sha(await session.get(more)), sha(CONTENT), "and new ones come in");
  await session.end();
}

const promote = (...args: readonly string[]) =>
  longshore(["promote", "--dir", site.directory, "--no-prometheus", ...args]);
const demote = (...args: readonly string[]) => longshore(["demote", "--dir", site.directory, ...args]);

test("a dry run says each step and what is where if it dies there, and changes nothing", async () => {
  const dry = await promote("--nodes", "3", "--dry-run", "-o", "json");
  assert.equal(dry.code, 0, dry.stderr);
  const { steps } = JSON.parse(dry.stdout) as { steps: { step: string; ifItDies: string }[] };
  assert.deepEqual(
    steps.map(({ step }) => step),
    ["note", "stop", "copy", "switch", "retire", "forget", "start"],
  );
  assert.ok(steps.every(({ ifItDies }) => ifItDies.length > 10));
  assert.equal(mode(), "standalone");
  await (await login()).end();
  assert.equal((await demote()).code, 0, "demoting what is standalone is nothing to do");
  assert.equal((await demote("--dir", "/nowhere/at/all")).code, EXIT.notFound);
});

test("killed in the middle, the site is what it was; the command given again makes three nodes of it", async () => {
  const args = [LONGSHORE, "promote", "--dir", site.directory, "--no-prometheus", "--nodes", "3"];
  const killed = start(process.execPath, args, { name: "promote" });
  await until("it has begun to copy", () => existsSync(join(site.directory, "etcd", "member")), { deadlineMs: 30_000 });
  await killed.kill();
  assert.equal(mode(), "standalone");
  assert.ok(existsSync(join(site.directory, "embedded", "store.mdb")));
  assert.equal((await demote()).code, EXIT.conflict, "the unfinished promote comes first");
  await site.up();
  await asBefore("/between");
  const done = await promote("--nodes", "3");
  assert.equal(done.code, 0, done.stderr);
  const endpoints = endpointsSchema.parse(JSON.parse(readFileSync(join(site.directory, "endpoints.json"), "utf8")));
  assert.equal(endpoints.nodes.length, 3);
  assert.ok(endpoints.etcd !== undefined && endpoints.haproxy !== undefined);
  assert.ok(!existsSync(join(site.directory, "embedded")), "nobody starts from the former store by mistake");
  assert.ok(!existsSync(join(site.directory, "move.json")));
  await asBefore("/promoted");
});

test("and back: a standalone node with all that came in meanwhile", async () => {
  await site.addAccount("new", { description: "made on the site of three" });
  accounts = await accountsNow();
  const done = await demote("-o", "json");
  assert.equal(done.code, 0, done.stderr);
  assert.equal(site.endpoints().nodes.length, 1);
  assert.equal(site.endpoints().etcd, undefined);
  await asBefore("/demoted");
  const session = await login();
  assert.ok((await session.get("/promoted")).equals(CONTENT));
  await session.end();
});

test("a site that is down is promoted, too, and stays down", async () => {
  await site.down();
  const done = await promote("--nodes", "2");
  assert.equal(done.code, 0, done.stderr);
  assert.match(done.stdout, /start it with/);
  assert.equal(mode(), "cluster");
  const up = await longshore(["up", "--json", "--no-prometheus", "--dir", site.directory]);
  assert.equal(up.code, 0, up.stderr);
  await asBefore("/again");
});
