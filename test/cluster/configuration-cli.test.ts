import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { parse } from "yaml";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { run } from "../support/clients/run.js";
import { longshore } from "../support/site.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

/** The commands as an administrator types them, against one real node. */
let site: Site;
let node: Node;

keepAwake();
before(async () => {
  site = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  node = await site.node("alpha", 1);
  await node.ready();
});
after(async () => {
  await node.process.kill();
  site.remove();
});

async function cli(...args: string[]) {
  const access = ["--url", node.url, "--token-file", join(site.directory, "token")];
  return await longshore([...args, ...access]);
}

async function ok(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cli(...args);
  assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout;
}

const asJson = async (...args: string[]) => JSON.parse(await ok(...args, "-o", "json")) as Record<string, unknown>[];
const inFile = (name: string, text: string): string => {
  const path = join(site.directory, name);
  writeFileSync(path, text);
  return path;
};

test("groups are made, changed field by field, shown and removed; one that is in use isn't", async () => {
  await ok("group", "set", "partners", "--home", "partners/{account}", "--max-sessions", "3");
  await ok("group", "set", "partners", "--allow", "list", "read", "--address", "192.0.2.0/24");
  const [group] = await asJson("group", "list");
  assert.equal(group?.home, "partners/{account}");
  assert.equal(group?.maxSessions, 3);
  assert.deepEqual(group?.permissions, [{ path: "/", allow: ["list", "read"] }]);
  assert.match(await ok("group", "show", "partners"), /192\.0\.2\.0\/24/);
  await ok("account", "add", "ann", "--group", "partners");
  const refused = await cli("group", "remove", "partners");
  assert.equal(refused.code, EXIT.usage);
  assert.match(refused.stderr, /accounts\/ann\.groups\.0: there is no group "partners"/);
  assert.equal((await cli("group", "show", "none")).code, EXIT.notFound);
  assert.equal((await cli("group", "set", "bad", "--home", "../x")).code, EXIT.usage);
});

test("an account is changed field by field; what isn't given stays, its password too", async () => {
  await ok("account", "set", "ann", "--mail", "ann@example.org", "--max-sessions", "7", "--disable");
  const read = async () => (await asJson("account", "show", "ann")) as unknown as Record<string, unknown>;
  const ann = await read();
  assert.deepEqual(
    [ann.mail, ann.maxSessions, ann.enabled, ann.groups, ann.hasPassword],
    ["ann@example.org", 7, false, ["partners"], true],
  );
  await ok("account", "set", "ann", "--enable", "--allow", "list", "--no-group");
  const changed = await read();
  assert.deepEqual([changed.enabled, changed.groups, changed.mail], [true, [], "ann@example.org"]);
  assert.deepEqual(changed.permissions, [{ path: "/", allow: ["list"] }]);
  await ok("account", "set", "ann", "--no-allow", "--group", "partners");
  assert.equal((await read()).permissions, undefined);
  assert.equal((await cli("account", "set", "none", "--enable")).code, EXIT.notFound);
  assert.equal((await cli("account", "set", "ann", "--group", "none")).code, EXIT.usage);
});

test("folders are set and removed on accounts and groups", async () => {
  await ok("folder", "set", "/in", "--group", "partners", "--target", "common/in", "--quota", "2G");
  await ok("folder", "set", "/out", "--account", "ann", "--target", "common/out", "--allow", "list", "read");
  // the node counts what lies there by itself
  await until("the folder is counted", async () => (await asJson("folder", "list"))[1]?.countedAt !== null, {
    deadlineMs: 20_000,
  });
  const folders = await asJson("folder", "list");
  const countedAt = folders[1]?.countedAt;
  assert.deepEqual(folders, [
    { owner: "account ann", path: "/out", target: "common/out", allow: ["list", "read"] },
    { owner: "group partners", path: "/in", target: "common/in", quotaBytes: 2 * 1024 ** 3, usedBytes: 0, countedAt },
  ]);
  assert.match(await ok("folder", "list", "--group", "partners"), /\/in +common\/in +- +2\.0 GiB +0 B \(0 %\)/);
  assert.match(await ok("folder", "recount", "common/in"), /counted anew/);
  assert.equal((await cli("folder", "recount", "common/out")).code, EXIT.usage);
  await ok("folder", "remove", "/out", "--account", "ann");
  assert.equal((await cli("folder", "remove", "/out", "--account", "ann")).code, EXIT.notFound);
  assert.equal((await cli("folder", "set", "/x", "--account", "ann", "--target", "../x")).code, EXIT.usage);
  assert.equal((await cli("folder", "set", "/x", "--target", "x")).code, EXIT.usage);
});

test("a key's private part goes in and never comes out", async () => {
  const path = join(site.directory, "id");
  assert.equal((await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path])).code, 0);
  await ok("key", "add", "bank", "--private-key", path, "--description", "for the bank");
  const [key] = await asJson("key", "list");
  assert.equal(key?.hasSecret, true);
  const [type, blob] = readFileSync(`${path}.pub`, "utf8").split(" ");
  assert.equal(key?.publicKey, `${type} ${blob}`);
  assert.ok(!JSON.stringify(await asJson("key", "list")).includes("ls1:"));
  assert.equal((await cli("key", "add", "bank", "--private-key", path)).code, EXIT.conflict);
  assert.equal((await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "pass", "-f", `${path}2`])).code, 0);
  const locked = await cli("key", "add", "locked", "--private-key", `${path}2`);
  assert.equal(locked.code, EXIT.usage);
  assert.match(locked.stderr, /passphrase/);
});

test("the site's document goes out, is edited, compared, applied, and taken back", async () => {
  const text = await ok("config", "get");
  const file = inFile("site.yaml", text);
  assert.match(await ok("config", "diff", file), /nothing to change/);
  const { accounts } = parse(text) as { accounts: Record<string, object> };
  assert.ok(accounts.ann && !text.includes("argon2"));

  writeFileSync(join(site.directory, "password"), "of the bank\n");
  const hostKey = `SHA256:${"A".repeat(43)}`;
  const profile = { protocol: "sftp", host: "bank.example", user: "u", hostKeys: [hostKey], secretFile: "password" };
  const edited = { ...(parse(text) as object), profiles: { bank: profile }, accounts: { ...accounts, ben: {} } };
  const changed = inFile("changed.yaml", JSON.stringify(edited));
  const plan = await ok("config", "apply", changed, "--dry-run");
  assert.match(plan, /\+ accounts\/ben/);
  assert.match(plan, /\+ profiles\/bank/);
  assert.match(plan, /sealed: \(secret\)/);
  assert.equal((await cli("account", "show", "ben")).code, EXIT.notFound);
  assert.match(await ok("config", "apply", changed), /in force from revision \d+/);
  await ok("account", "show", "ben");
  assert.match(await ok("config", "apply", changed), /nothing to change/);

  const [newest, before] = await asJson("config", "history");
  assert.equal(newest?.summary, "put accounts/ben, put profiles/bank");
  assert.match(await ok("config", "rollback", String(before?.revision), "--dry-run"), /- accounts\/ben/);
  await ok("account", "show", "ben");
  assert.match(await ok("config", "rollback", String(before?.revision)), /- profiles\/bank/);
  assert.equal((await cli("account", "show", "ben")).code, EXIT.notFound);
  assert.equal((await cli("config", "rollback", "1")).code, EXIT.notFound);
});

test("a faulty document is refused with the path of each fault and the line of what isn't YAML", async () => {
  const bad = inFile("bad.yaml", "accounts:\n  ann:\n    groups: [gone]\n    home: ../x\n  eve: {shell: x}\n");
  const refused = await cli("config", "apply", bad);
  assert.equal(refused.code, EXIT.usage);
  assert.match(refused.stderr, /accounts\/ann\.home/);
  assert.match(refused.stderr, /accounts\/eve\.: .*shell/);
  const dangling = await cli("config", "diff", inFile("dangling.yaml", "accounts:\n  ann: {groups: [gone]}\n"));
  assert.equal(dangling.code, EXIT.usage);
  assert.match(dangling.stderr, /accounts\/ann\.groups\.0: there is no group "gone"/);
  const broken = await cli("config", "apply", inFile("broken.yaml", "accounts:\n  ann: [\n"));
  assert.equal(broken.code, EXIT.usage);
  assert.match(broken.stderr, /line 2|line 3/);
  const twice = await cli("config", "apply", inFile("twice.yaml", "site: {}\nsite: {}\n"));
  assert.equal(twice.code, EXIT.usage);
});

test("the cluster key's rotation says what it did", async () => {
  assert.match(await ok("config", "rotate-key"), /entries sealed anew: 0/);
});
