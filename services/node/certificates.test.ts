import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createNodeCertificates, describeCertificate } from "./certificates.js";

const directory = mkdtempSync(join(tmpdir(), "longshore-certificates-"));
const DAY_MS = 86_400_000;

function make(name: string, days: number): string {
  const file = join(directory, `${name}.pem`);
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", join(directory, "key")];
  const made = spawnSync("openssl", ["req", "-x509", ...key, "-out", file, "-days", String(days), ...subject]);
  assert.equal(made.status, 0, String(made.stderr));
  return readFileSync(file, "utf8");
}

let long: string;
let short: string;
before(() => {
  long = make("long", 100);
  short = make("short", 10);
});
after(() => rmSync(directory, { recursive: true }));

test("a file tells the names of its first certificate and the end of the first to end", () => {
  const alone = describeCertificate("admin", long);
  assert.ok(alone);
  assert.match(alone.names, /CN=long\nDNS:long/);
  assert.ok(Math.abs(alone.notAfter - Date.now() - 100 * DAY_MS) < DAY_MS);
  const chain = describeCertificate("admin", `${long}${short}`);
  assert.ok(chain);
  assert.equal(chain.names, alone.names);
  assert.notEqual(chain.fingerprint, alone.fingerprint);
  assert.ok(Math.abs(chain.notAfter - Date.now() - 10 * DAY_MS) < DAY_MS);
});

test("text around the certificates doesn't count, and what is none isn't told", () => {
  assert.deepEqual(describeCertificate("admin", `# renewed\n${long}\n`), describeCertificate("admin", long));
  assert.equal(describeCertificate("admin", ""), undefined);
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  assert.equal(describeCertificate("admin", broken), undefined);
});

test("each is told as it is now, in the order in which a heartbeat shows them", () => {
  let admin: string | undefined;
  let etcd = { cert: short, ca: long, key: "" };
  const certificates = createNodeCertificates(
    () => admin,
    () => etcd,
  );
  const uses = () => certificates().map(({ use, names }) => `${use} ${names.split("\n")[0]}`);
  assert.deepEqual(uses(), ["etcd-client CN=short", "etcd-authority CN=long"]);
  admin = long;
  assert.deepEqual(uses(), ["admin CN=long", "etcd-client CN=short", "etcd-authority CN=long"]);
  admin = short;
  etcd = { cert: long, ca: short, key: "" };
  assert.deepEqual(uses(), ["admin CN=short", "etcd-client CN=long", "etcd-authority CN=short"]);
});
