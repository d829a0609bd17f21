import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { run, succeeded } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";
import { ensurePackages } from "../support/packages.js";

/** What Ansible's controller keeps (roles/certificates/files/site-secrets), without any machine. */

const SCRIPT = join(ROOT, "ansible/roles/certificates/files/site-secrets");
const NODE = "admin;n1;serverAuth;DNS:n1,IP:192.0.2.1";

describe("the secrets of a site on its controller", () => {
  let directory: string;
  beforeEach(() => {
    ensurePackages({ openssl: "openssl" });
    directory = join(mkdtempSync(join(tmpdir(), "longshore-site-secrets-")), "secrets");
  });
  afterEach(() => rmSync(join(directory, ".."), { recursive: true, force: true }));

  const at = (...parts: string[]) => join(directory, ...parts);
  const read = (...parts: string[]) => readFileSync(at(...parts), "utf8");
  /** The lines that it printed: one a change. */
  const changes = async (args: readonly string[], options: { check?: boolean; input?: string } = {}) => {
    const env = { ...process.env, CHECK: options.check ? "yes" : "no" };
    const { stdout } = succeeded(await run(SCRIPT, args, { env, ...(options.input && { input: options.input }) }));
    return stdout.split("\n").filter((line) => line !== "");
  };
  const site = (check = false) => changes(["site", directory, "Longshore test", "3650"], { check });
  const host = (specs: readonly string[], renewDays = "90", check = false) =>
    changes(["host", at("n1"), at("ca.pem"), "800", renewDays, ...specs], { check, input: read("ca.key") });

  test("are made once, for their owner alone; a dry run makes nothing", async () => {
    assert.equal((await site(true)).length, 5);
    assert.ok(!existsSync(directory));
    assert.equal((await site()).length, 5);
    const before = Object.fromEntries(readdirSync(directory).map((name) => [name, read(name)]));
    assert.deepEqual(await site(), []);
    for (const [name, text] of Object.entries(before)) {
      assert.equal(read(name), text, name);
      assert.equal(statSync(at(name)).mode & 0o777, 0o600, name);
    }
    assert.equal(Buffer.from(read("cluster-key"), "base64").length, 32);
  });

  test("a certificate is kept while it is good, and made anew for other names, another authority, or near its end", async () => {
    await site();
    assert.deepEqual(await host([NODE]), ["certificate admin: there was none"]);
    const first = read("n1", "admin.pem");
    const parsed = new X509Certificate(first);
    assert.ok(parsed.verify(new X509Certificate(read("ca.pem")).publicKey));
    assert.equal(parsed.subjectAltName, "DNS:n1, IP Address:192.0.2.1");
    assert.ok(parsed.ca === false && parsed.keyUsage?.includes("1.3.6.1.5.5.7.3.1"));
    assert.deepEqual(await host([NODE]), []);
    assert.equal(read("n1", "admin.pem"), first);

    assert.deepEqual(await host([NODE], "90", true), []);
    assert.deepEqual(await host([NODE], "801", true), ["certificate admin: it is about to end"]);
    assert.equal(read("n1", "admin.pem"), first, "a dry run");
    assert.deepEqual(await host([`${NODE},DNS:n1.example`]), ["certificate admin: its names have changed"]);
    assert.deepEqual(await host([`${NODE},DNS:n1.example`], "all"), ["certificate admin: all are made anew"]);

    rmSync(at("ca.pem"));
    rmSync(at("ca.key"));
    await site();
    assert.deepEqual(await host([`${NODE},DNS:n1.example`]), ["certificate admin: it was another authority's"]);
    // A run that was cut off between key and certificate.
    rmSync(at("n1", "admin.for"));
    assert.deepEqual(await host([`${NODE},DNS:n1.example`]), ["certificate admin: there was none"]);
  });

  test("half an authority is refused with what to do", async () => {
    await site();
    rmSync(at("ca.key"));
    const outcome = await run(SCRIPT, ["site", directory, "Longshore test", "3650"]);
    assert.notEqual(outcome.code, 0);
    assert.match(outcome.stderr, /ca\.pem is there without ca\.key: restore the key/);
    // The way out that it names.
    await changes(["next", directory, "Longshore test 2", "3650"]);
    assert.deepEqual(await site(), []);
    await changes(["promote", directory]);
    assert.equal((await host([NODE])).length, 1);
  });

  test("a new authority is known before it signs, and each step can be done twice", async () => {
    await site();
    const old = read("ca.pem");
    assert.equal((await changes(["next", directory, "Longshore test 2", "3650"])).length, 1);
    assert.deepEqual(await changes(["next", directory, "Longshore test 3", "3650"]), []);
    const next = read("ca-next.pem");
    assert.equal(read("ca.pem"), old);
    // As when the run was cut off behind the first of its two renames.
    writeFileSync(at("ca-other.pem"), old);
    writeFileSync(at("ca.key"), read("ca-next.key"));
    rmSync(at("ca-next.key"));
    assert.equal((await changes(["promote", directory])).length, 1);
    assert.deepEqual(await changes(["promote", directory]), []);
    assert.equal(read("ca.pem"), next);
    assert.equal(read("ca-other.pem"), old);
    await host([NODE]);
    assert.ok(new X509Certificate(read("n1", "admin.pem")).verify(new X509Certificate(next).publicKey));
  });

  test("an old authority that hosts may still trust stays in sight until no host does", async () => {
    await site();
    const old = read("ca.pem");
    await changes(["next", directory, "Longshore test 2", "3650"]);
    await changes(["promote", directory]);
    assert.equal((await changes(["leave", directory])).length, 1);
    // As when the run was cut off here: the next one finishes this change and begins no other.
    assert.deepEqual(await changes(["next", directory, "Longshore test 3", "3650"]), []);
    for (const step of ["promote", "leave"]) assert.deepEqual(await changes([step, directory]), []);
    assert.equal(read("ca-leaving.pem"), old);
    assert.equal((await changes(["left", directory])).length, 1);
    assert.deepEqual(await changes(["left", directory]), []);
    const [kept = ""] = readdirSync(directory).filter((name) => name.startsWith("ca-until-"));
    assert.equal(read(kept), old);
    assert.equal((await changes(["next", directory, "Longshore test 3", "3650"])).length, 1);
  });

  test("the cluster key's file opens everything at each step of a change", async () => {
    await site();
    const [old = ""] = read("cluster-key").split("\n");
    for (const _ of ["once", "and again"]) {
      await changes(["key-add", directory]);
      assert.equal(read("cluster-key").split("\n")[0], old);
      assert.equal(read("cluster-key").trim().split("\n").length, 2);
    }
    const [, fresh = ""] = read("cluster-key").split("\n");
    for (const _ of ["once", "and again"]) {
      await changes(["key-swap", directory]);
      assert.equal(read("cluster-key"), `${fresh}\n${old}\n`);
    }
    assert.equal((await changes(["key-drop", directory])).length, 1);
    assert.equal(read("cluster-key"), `${fresh}\n`);
    assert.equal((await changes(["key-done", directory])).length, 1);
    assert.deepEqual(await changes(["key-done", directory]), []);
    const kept = readdirSync(directory).filter((name) => name.startsWith("cluster-key.until-"));
    assert.equal(kept.length, 1);
    assert.equal(read(kept[0] ?? "").trim(), old);
  });

  test("a run of all steps after one that was cut off doesn't begin a second change", async () => {
    await site();
    await changes(["key-add", directory]);
    await changes(["key-swap", directory]);
    const [fresh] = read("cluster-key").split("\n");
    for (const step of ["key-add", "key-swap", "key-drop"]) await changes([step, directory]);
    assert.equal(read("cluster-key"), `${fresh}\n`);
  });

  test("a change that was cut off before every node had forgotten the old key is finished with the same two keys", async () => {
    await site();
    const [old] = read("cluster-key").split("\n");
    for (const step of ["key-add", "key-swap", "key-drop"]) await changes([step, directory]);
    const [fresh] = read("cluster-key").split("\n");
    for (const step of ["key-add", "key-swap"]) {
      await changes([step, directory]);
      assert.equal(read("cluster-key"), `${fresh}\n${old}\n`, step);
    }
    for (const step of ["key-drop", "key-done"]) await changes([step, directory]);
    assert.equal(read("cluster-key"), `${fresh}\n`);
    // The next change is one of its own.
    for (const step of ["key-add", "key-swap", "key-drop", "key-done"]) await changes([step, directory]);
    assert.notEqual(read("cluster-key"), `${fresh}\n`);
  });

  test("a new admin token is made once, until every node has it", async () => {
    await site();
    const old = read("admin-token");
    assert.equal((await changes(["new-token", directory])).length, 1);
    const fresh = read("admin-token");
    assert.notEqual(fresh, old);
    // As when the run was cut off before the last node had it.
    assert.deepEqual(await changes(["new-token", directory]), []);
    assert.equal(read("admin-token"), fresh);
    assert.equal((await changes(["token-done", directory])).length, 1);
    assert.ok(!existsSync(at("admin-token.old")));
    // As when it was cut off before there was a new one.
    writeFileSync(at("admin-token.old"), fresh);
    assert.equal((await changes(["new-token", directory])).length, 1);
    assert.notEqual(read("admin-token"), fresh);
  });

  test("what ansible-vault has encrypted isn't rotated blindly", async () => {
    await site();
    writeFileSync(at("cluster-key"), "$ANSIBLE_VAULT;1.1;AES256\n6162\n");
    const outcome = await run(SCRIPT, ["key-add", directory]);
    assert.notEqual(outcome.code, 0);
    assert.match(outcome.stderr, /is encrypted: ansible-vault decrypt it, rotate, and encrypt it again/);
  });
});
