import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ensureAuthority, ensureLeaf, type LeafOptions, whyNotGood } from "#cli/container/certificates.js";
import { ensurePackages } from "../support/packages.js";
import { run } from "../support/processes.js";

/** The certificates of a site in containers, made by the openssl program as `setup` does it. */

const DAY_MS = 86_400_000;
const member: LeafOptions = { name: "etcd-1", for: ["DNS:etcd-1", "IP:198.18.10.11"], server: true };

describe("the certificates that setup makes", () => {
  let directory: string;
  let openssl: string;
  const pair = (name: string) => ({
    certificate: join(directory, `${name}.pem`),
    key: join(directory, `${name}.key`),
  });
  const text = (file: string) => readFileSync(file, "utf8");

  before(() => {
    ({ openssl } = ensurePackages({ openssl: "openssl" }));
    directory = mkdtempSync(join(tmpdir(), "longshore-certificates-"));
    ensureAuthority(pair("ca"), "Test clients");
    ensureAuthority(pair("other"), "Test peers");
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  const why = (name: string, options: LeafOptions, now = new Date(), authority = "ca") => {
    const { certificate, key } = pair(name);
    return whyNotGood(
      { certificate: text(certificate), key: text(key) },
      text(pair(authority).certificate),
      options,
      now,
    );
  };

  test("are good for openssl as a server's and as a client's, and private", async () => {
    assert.match(
      ensureLeaf(pair("etcd-1"), pair("ca"), member) ?? "",
      /made a certificate for etcd-1 \(there was none\)/,
    );
    for (const purpose of ["sslserver", "sslclient"]) {
      const { certificate } = pair("etcd-1");
      await run(openssl, [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        pair("ca").certificate,
        certificate,
      ]);
    }
    assert.equal(statSync(pair("etcd-1").key).mode & 0o777, 0o600);
  });

  test("stay as they are at the next start", () => {
    const before = text(pair("etcd-1").certificate);
    assert.equal(ensureAuthority(pair("ca"), "Test clients"), undefined);
    assert.equal(ensureLeaf(pair("etcd-1"), pair("ca"), member), undefined);
    assert.equal(text(pair("etcd-1").certificate), before);
  });

  test("are made anew for another address, another authority, or shortly before their end", () => {
    assert.equal(why("etcd-1", member), undefined);
    assert.match(why("etcd-1", { ...member, for: ["DNS:etcd-1", "IP:198.18.11.11"] }) ?? "", /addresses/);
    assert.match(why("etcd-1", member, new Date(), "other") ?? "", /another authority/);
    assert.equal(why("etcd-1", member, new Date(Date.now() + 600 * DAY_MS)), undefined);
    assert.match(why("etcd-1", member, new Date(Date.now() + 750 * DAY_MS)) ?? "", /about to end/);
  });

  test("a certificate that a crash left with another key is made anew", () => {
    ensureLeaf(pair("etcd-2"), pair("ca"), { ...member, name: "etcd-2" });
    const mixed = { certificate: text(pair("etcd-1").certificate), key: text(pair("etcd-2").key) };
    assert.match(whyNotGood(mixed, text(pair("ca").certificate), member, new Date()) ?? "", /wasn't for its key/);
  });

  test("an authority that lost its key is refused, not replaced", () => {
    ensureAuthority(pair("lost"), "Test lost");
    rmSync(pair("lost").key);
    assert.throws(() => ensureAuthority(pair("lost"), "Test lost"), /without its other half: restore the volume/);
  });
});
