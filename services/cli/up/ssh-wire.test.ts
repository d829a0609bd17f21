import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { siteLayout } from "../layout.js";
import { findProgram } from "./packages.js";
import { accountCredentials } from "./secrets.js";
import { publicKeyOf, readField, writeField } from "./ssh-wire.js";

describe("a partner's generated credentials", () => {
  const layout = siteLayout(mkdtempSync(join(tmpdir(), "longshore-credentials-")));
  after(() => rmSync(layout.root, { recursive: true }));

  test("are private, and the same the next time", async () => {
    const made = await accountCredentials(layout, "partner");
    assert.deepEqual(await accountCredentials(layout, "partner"), made);
    assert.equal(statSync(made.privateKeyFile).mode & 0o777, 0o600);
    assert.notEqual((await accountCredentials(layout, "other")).password, made.password);
  });

  const keygen = findProgram("ssh-keygen");
  test("hold a key that OpenSSH takes for the same one", {
    skip: keygen === undefined && "no ssh-keygen",
  }, async () => {
    const { privateKeyFile, publicKey } = await accountCredentials(layout, "partner");
    const said = spawnSync(keygen ?? "", ["-y", "-f", privateKeyFile], { encoding: "utf8" });
    assert.deepEqual(said.stdout.split(" ").slice(0, 2), publicKey.split(" ").slice(0, 2));
  });
});

describe("SSH's fields", () => {
  test("come back as they were written", () => {
    const bytes = Buffer.concat([writeField("one"), writeField(Buffer.from([0, 255]))]);
    const first = readField(bytes, 0);
    assert.equal(first?.value.toString(), "one");
    assert.deepEqual(readField(bytes, first?.end ?? 0)?.value, Buffer.from([0, 255]));
  });

  test("that are cut or lie about their length are no fields", () => {
    assert.equal(readField(writeField("one").subarray(0, 6), 0), undefined);
    assert.equal(readField(Buffer.from([255, 255, 255, 255, 1]), 0), undefined);
    assert.throws(() => publicKeyOf("-----BEGIN X-----\nAAAA\n-----END X-----"), TypeError);
  });
});
