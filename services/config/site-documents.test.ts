import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { type KeyRing, open, sealKey } from "#lib/seal.js";
import { createAccounts } from "./accounts.js";
import { InvalidConfigError, StaleRevisionError } from "./errors.js";
import { createSiteDocuments } from "./site-documents.js";

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q ann@host";
const hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAA$BBBB";
// Our own timers keep no process alive: a test that waits for one would end as if nothing could happen.
const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

const note = { by: "tester" };

async function site(t: TestContext, ring: KeyRing = [sealKey(randomBytes(32))]) {
  const directory = await mkdtemp(join(tmpdir(), "longshore-config-"));
  const coordination = createEmbeddedCoordination({ directory });
  t.after(async () => {
    await coordination.close();
    await rm(directory, { recursive: true, force: true });
  });
  const settings = JSON.stringify({ id: "0f8e7d6c-1111-4222-8333-444455556666", name: "t" });
  await coordination.transact({ compare: [], apply: [{ put: keys.site, value: settings }] });
  const documents = createSiteDocuments({ coordination, clusterKey: ring });
  const apply = (document: object, prune = true) => documents.apply(document, prune, note);
  return { coordination, documents, accounts: createAccounts({ coordination }), apply, ring };
}

const faultPaths = (paths: readonly string[]) => (error: unknown) => {
  assert.ok(error instanceof InvalidConfigError, String(error));
  assert.deepEqual(error.faults.map(({ path }) => path).sort(), [...paths].sort());
  return true;
};

test("a document that was read and applied again changes nothing", async (t) => {
  const { documents, apply, accounts } = await site(t);
  await apply({
    site: { name: "t", durability: "power" },
    groups: { partners: { home: "p/{account}", folders: [{ path: "/in", target: "in" }] } },
    accounts: { ann: { groups: ["partners"], publicKeys: [key] } },
    keys: { k: { publicKey: key, secret: "private" } },
    profiles: { bank: { protocol: "sftp", host: "h", user: "u", key: "k", hostKeys: [`SHA256:${"A".repeat(43)}`] } },
    administrators: { root: { role: "admin" } },
  });
  await accounts.put({ ...(await accounts.get("ann"))?.account, passwordHash: hash });
  const { document, revision } = await documents.document(false);
  const again = await apply(document);
  assert.deepEqual(again, { revision, changes: [] });
  assert.equal((await accounts.get("ann"))?.account.passwordHash, hash);
  const text = JSON.stringify(document);
  assert.ok(!text.includes("argon2id") && !text.includes('"private"'), text);
  assert.ok(JSON.stringify((await documents.document(true)).document).includes("argon2id"));
});

test("a section removes what it doesn't name, unless merged; a section that isn't there is left alone", async (t) => {
  const { apply, accounts } = await site(t);
  await apply({ accounts: { ann: {}, ben: {} }, groups: { g: {} } });
  const merged = await apply({ accounts: { cem: {} } }, false);
  assert.deepEqual(
    merged.changes.map(({ entry }) => entry),
    ["accounts/cem"],
  );
  const { changes } = await apply({ accounts: { ann: { description: "x" } } });
  assert.deepEqual(
    changes.map(({ entry, change }) => `${change} ${entry}`),
    ["change accounts/ann", "remove accounts/ben", "remove accounts/cem"],
  );
  assert.equal((await accounts.list()).length, 1);
  assert.equal((await apply({ groups: {} })).changes.length, 1);
});

test("each fault is named with its path, and nothing of the document is applied", async (t) => {
  const { coordination, documents, apply } = await site(t);
  const before = await coordination.list("");
  const bad = {
    site: { name: "t", addressRules: { deny: ["0.0.0.0/0"] } },
    accounts: { ann: { groups: ["gone"] }, ben: {} },
  };
  await assert.rejects(apply(bad), faultPaths(["site.addressRules", "accounts/ann.groups.0"]));
  await assert.rejects(
    apply({ accounts: { ann: { shell: "x", home: "../x" }, ben: {} }, keys: { k: { publicKey: "no key" } } }),
    faultPaths(["accounts/ann.", "accounts/ann.home"]),
  );
  await assert.rejects(apply({ keys: { k: { publicKey: "no key" } } }), faultPaths(["keys/k.publicKey"]));
  await assert.rejects(apply({ rules: {} }), InvalidConfigError);
  await assert.rejects(apply({ accounts: { "../x": {} } }), InvalidConfigError);
  assert.deepEqual((await coordination.list("")).entries, before.entries);
  const plan = await documents.plan(bad, true);
  assert.deepEqual(plan.faults.map(({ path }) => path).sort(), ["accounts/ann.groups.0", "site.addressRules"]);
});

test("secrets are sealed for their place, stay when they are the same, and another site's are refused", async (t) => {
  const { coordination, documents, apply, ring } = await site(t);
  await apply({ keys: { k: { publicKey: key, secret: "private" } } });
  const sealed = (await documents.get("key", "k"))?.value.sealed ?? "";
  assert.equal(open(sealed, ring, keys.secret("k")).toString(), "private");
  assert.deepEqual((await apply({ keys: { k: { publicKey: key, secret: "private" } } })).changes, []);
  assert.deepEqual((await apply({ keys: { k: { publicKey: key } } })).changes, []);
  await assert.rejects(apply({ keys: { other: { publicKey: key, sealed } } }), faultPaths(["keys/other.sealed"]));
  const removed = await apply({ keys: { k: { publicKey: key, secret: null } } });
  assert.deepEqual(removed.changes[0]?.fields, [{ field: "sealed", before: "(secret)" }]);
  const { entries } = await coordination.list("");
  assert.ok(!entries.some(({ value }) => value.includes('private"')));
});

test("a certificate takes the private key that is its own, and no other", async (t) => {
  const { documents } = await site(t);
  const [own, other] = [0, 1].map(() => {
    const directory = mkdtempSync(join(tmpdir(), "longshore-certificate-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const at = (name: string) => join(directory, name);
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    const files = ["-keyout", at("key"), "-out", at("chain")];
    execFileSync("openssl", ["req", "-x509", "-nodes", "-subj", "/CN=t", ...curve, ...files], { stdio: "ignore" });
    return { chain: readFileSync(at("chain"), "utf8"), secret: readFileSync(at("key"), "utf8") };
  });
  assert.ok(own && other);
  const put = (fields: object) => documents.put("certificate", "web", { ...fields }, undefined, note);
  assert.ok((await put(own)).value.sealed);
  await assert.rejects(put({ ...own, secret: other.secret }), faultPaths(["secret"]));
  await assert.rejects(put({ chain: own.chain, secret: "no key" }), faultPaths(["secret"]));
  await assert.rejects(put({ chain: other.chain }), faultPaths(["secret"]), "the old key under a new chain");
  await assert.rejects(put({ chain: "no chain" }), InvalidConfigError);
});

test("a reference can't be left dangling: what is referred to can't be removed", async (t) => {
  const { documents, apply, accounts } = await site(t);
  await apply({ groups: { g: {} }, accounts: { ann: { groups: ["g"] } } });
  await assert.rejects(documents.remove("group", "g", undefined, note), faultPaths(["accounts/ann.groups.0"]));
  await assert.rejects(accounts.put({ name: "ben", groups: ["none"] }), faultPaths(["groups.0"]));
  await accounts.delete("ann");
  assert.equal(await documents.remove("group", "g", undefined, note), true);
  assert.equal(await documents.remove("group", "g", undefined, note), false);
});

test("a group that is removed while an account is put into it: one of the two fails, whoever is first", async (t) => {
  const { documents, accounts } = await site(t);
  for (let round = 0; round < 20; round++) {
    await documents.put("group", "g", {}, undefined, note);
    const ends = await Promise.allSettled([
      accounts.put({ name: "ann", groups: ["g"] }),
      documents.remove("group", "g", undefined, note),
    ]);
    assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 1, JSON.stringify(ends));
    const there = (await documents.get("group", "g")) !== undefined;
    assert.equal((await accounts.get("ann")) !== undefined, there);
    await accounts.delete("ann");
  }
});

test("the last administrator stays, also when two are removed at once", async (t) => {
  const { documents, apply } = await site(t);
  for (let round = 0; round < 10; round++) {
    await apply({ administrators: { a: { role: "admin" }, b: { role: "admin" } } });
    const ends = await Promise.allSettled(
      ["a", "b"].map((name) => documents.remove("administrator", name, undefined, note)),
    );
    assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 1);
  }
  await assert.rejects(apply({ administrators: {} }), faultPaths(["administrators"]));
});

test("a stale writer is refused and told the current revision", async (t) => {
  const { documents, apply } = await site(t);
  const first = await documents.put("group", "g", {}, "absent", note);
  const second = await documents.put("group", "g", { maxSessions: 2 }, first.revision, note);
  const stale = (error: unknown) => error instanceof StaleRevisionError && error.current === second.revision;
  await assert.rejects(documents.put("group", "g", {}, first.revision, note), stale);
  await assert.rejects(documents.put("group", "g", {}, "absent", note), stale);
  await assert.rejects(documents.remove("group", "g", first.revision, note), stale);
  await apply({ groups: { g: { maxSessions: 3 } } });
  await assert.rejects(
    documents.apply({ groups: {} }, true, { ...note, expected: second.revision }),
    (error) => error instanceof StaleRevisionError,
  );
});

test("more than fits into one transaction is refused whole, and says what to do", async (t) => {
  const { coordination, apply, accounts } = await site(t);
  const count = coordination.maxOperations;
  const many = Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, {}]));
  await assert.rejects(
    apply({ accounts: many }),
    (error) => error instanceof InvalidConfigError && /at once; .*--merge/.test(error.message),
  );
  assert.equal((await accounts.list()).length, 0);
  delete many.p0;
  delete many.p1;
  assert.equal((await apply({ accounts: many })).changes.length, count - 2);
});

test("the history says who changed what; a rollback brings back what was, but not what was revoked", async (t) => {
  const { documents, apply, accounts } = await site(t);
  const first = await apply({
    groups: { g: { maxSessions: 1 } },
    accounts: { ann: { groups: ["g"], passwordHash: hash }, ben: {} },
    administrators: { root: { role: "admin" }, gone: { role: "admin" } },
  });
  await apply({ groups: { g: { maxSessions: 2 } } });
  await accounts.put({ ...(await accounts.get("ann"))?.account, passwordHash: `${hash}new` }, undefined, { by: "eve" });
  await accounts.delete("ben", undefined, { by: "eve" });
  await documents.put("group", "later", {}, undefined, note);
  await documents.remove("administrator", "gone", undefined, note);

  const history = await documents.history();
  assert.deepEqual(
    history.map(({ by, summary }) => `${by}: ${summary}`),
    [
      "tester: delete administrators/gone",
      "tester: put groups/later",
      "eve: delete accounts/ben",
      "eve: put accounts/ann",
      "tester: put groups/g",
      "tester: put accounts/ann, put accounts/ben, put groups/g and 2 more",
    ],
  );
  assert.equal(history.at(-1)?.revision, first.revision);

  const plan = await documents.planRollback(first.revision);
  assert.deepEqual(plan.changes.map(({ entry, change }) => `${change} ${entry}`).sort(), [
    "add accounts/ben",
    "change groups/g",
    "remove groups/later",
  ]);
  assert.deepEqual(plan.faults, []);
  await documents.rollback(first.revision, note);
  const { document } = await documents.document(true);
  assert.deepEqual(Object.keys(document.groups ?? {}), ["g"]);
  assert.equal(document.groups?.g?.maxSessions, 1);
  assert.equal(document.accounts?.ann?.passwordHash, `${hash}new`);
  assert.ok(document.accounts?.ben);
  assert.deepEqual(Object.keys(document.administrators ?? {}), ["root"]);
  await assert.rejects(
    documents.rollback(1, note),
    (error) => error instanceof LongshoreError && error.code === "not-found",
  );
  // A rollback is a change like any other, and can be taken back.
  const before = history[0]?.revision ?? 0;
  await documents.rollback(before, note);
  assert.equal((await documents.document(false)).document.groups?.g?.maxSessions, 2);
});
