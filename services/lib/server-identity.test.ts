import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { PeerCertificate } from "node:tls";
import { checkServerIdentity } from "./server-identity.js";

test("a certificate is for the names and addresses that stand in it, IPv6 in any spelling", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-identity-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const names = "subjectAltName=DNS:m1,IP:192.0.2.7,IP:2001:db8::b";
  const files = ["-keyout", join(directory, "key"), "-out", join(directory, "pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", ["req", "-x509", ...curve, ...files, "-subj", "/CN=m1", "-addext", names], { stdio: "pipe" });
  const { raw, subjectAltName } = new X509Certificate(readFileSync(join(directory, "pem")));
  const shown = { raw, subject: { CN: "m1" }, subjectaltname: subjectAltName } as unknown as PeerCertificate;
  for (const host of ["m1", "192.0.2.7", "2001:db8::b", "2001:DB8:0:0:0:0:0:B"]) {
    assert.equal(checkServerIdentity(host, shown), undefined, host);
  }
  for (const host of ["m2", "192.0.2.8", "2001:db8::c", "::1", "::ffff:192.0.2.7", ""]) {
    const refused = checkServerIdentity(host, shown);
    assert.equal((refused as NodeJS.ErrnoException | undefined)?.code, "ERR_TLS_CERT_ALTNAME_INVALID", host);
  }
});
