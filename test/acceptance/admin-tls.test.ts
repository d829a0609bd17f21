import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ensureAuthority, ensureLeaf } from "#cli/container/certificates.js";
import { EXIT } from "#cli/errors.js";
import { until } from "#lib/testing.js";
import { ensurePackages } from "../support/packages.js";
import { instantQuery } from "../support/prometheus.js";
import { longshore, type Site, startSite } from "../support/site.js";

/** A whole site whose admin ports speak TLS: everybody who asks them does it by the site's own authority. */

describe("a site with TLS on its admin ports", { timeout: 300_000 }, () => {
  let site: Site;
  const scratch = mkdtempSync(join(tmpdir(), "longshore-admin-tls-"));

  before(async () => {
    ensurePackages({ prometheus: "prometheus", openssl: "openssl" });
    site = await startSite({ tls: true, prometheus: true });
  });
  after(async () => {
    await site?.stop();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** HAProxy's view of the nodes, without their last resorts: state and the last check's word for each. */
  async function checks(): Promise<string[]> {
    const lines = (await site.haproxy("show stat")).split("\n").filter((line) => /^sftp,node-\d,/.test(line));
    return lines.map((line) => {
      const columns = line.split(",");
      // "* " before the last word: the next check is under way.
      return `${columns[17]} ${columns[36]?.replace(/^\* /, "")}`;
    });
  }

  test("the command finds the authority by itself, or is told it; without it no token is sent", async () => {
    const { admin, nodes } = site.endpoints();
    for (const url of [admin.url, ...nodes.map(({ adminUrl }) => adminUrl)]) {
      assert.match(url, /^https:/);
      const told = ["--url", url, "--token-file", admin.tokenFile];
      const answer = await longshore(["status", "-o", "json", ...told, "--ca-file", admin.caFile ?? ""]);
      assert.equal(answer.code, EXIT.ok, answer.stderr);
      const byVariable = await longshore(["status", ...told], { LONGSHORE_CA_FILE: admin.caFile });
      assert.equal(byVariable.code, EXIT.ok, byVariable.stderr);
      const unknown = await longshore(["status", ...told]);
      assert.equal(unknown.code, EXIT.unavailable);
      assert.match(unknown.stderr, /--ca-file \(or LONGSHORE_CA_FILE\)/);
    }
    const { stdout, code } = await longshore(["status", "--dir", site.directory]);
    assert.equal(code, EXIT.ok);
    assert.match(stdout, /node-3/);
  });

  test("HAProxy's checks and Prometheus's scrapes pass, and the doctor finds nothing", async () => {
    await until(
      "HAProxy takes the nodes",
      async () => {
        const states = await checks();
        return states.length === 3 && states.every((state) => state === "UP L7OK");
      },
      { deadlineMs: 15_000 },
    );
    const { prometheus } = site.endpoints();
    assert.ok(prometheus);
    await until(
      "all nodes are scraped",
      async () => {
        const up = await instantQuery(prometheus.url, `up{job="longshore"} == 1`);
        return up.length === 3;
      },
      { deadlineMs: 30_000 },
    );
    const { code, stdout } = await longshore(["doctor", "--dir", site.directory]);
    assert.equal(code, EXIT.ok, stdout);
    assert.match(stdout, /nothing is wrong/);
  });

  test("nobody believes a certificate of another authority, and all is well once the right one is back", async () => {
    const { caFile } = site.endpoints().admin;
    assert.ok(caFile);
    const directory = join(caFile, "..");
    const [certificate, key] = [join(directory, "admin.pem"), join(directory, "admin.key")];
    const own = { certificate: readFileSync(certificate), key: readFileSync(key) };
    const authority = { certificate: join(scratch, "ca.pem"), key: join(scratch, "ca.key") };
    const forged = { certificate: join(scratch, "forged.pem"), key: join(scratch, "forged.key") };
    ensureAuthority(authority, "Another");
    const names = ["DNS:node-1", "DNS:node-2", "DNS:node-3", "IP:127.0.0.1"];
    ensureLeaf(forged, authority, { name: "forged", for: names, server: true });
    writeFileSync(key, readFileSync(forged.key));
    writeFileSync(certificate, readFileSync(forged.certificate));
    await until(
      "HAProxy refuses the nodes",
      async () => (await checks()).every((state) => state.startsWith("DOWN L6")),
      { deadlineMs: 15_000 },
    );
    const { adminUrl } = site.node(0);
    const told = ["--url", adminUrl, "--token-file", site.endpoints().admin.tokenFile, "--ca-file", caFile];
    assert.equal((await longshore(["status", ...told])).code, EXIT.unavailable);
    writeFileSync(key, own.key);
    writeFileSync(certificate, own.certificate);
    await until("HAProxy takes the nodes again", async () => (await checks()).every((state) => state === "UP L7OK"), {
      deadlineMs: 15_000,
    });
    assert.equal((await longshore(["status", ...told])).code, EXIT.ok);
  });
});
