import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { remote, scp, sftp, startScp, startSftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { failed, run, succeeded, tell } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** OpenSSH's own sftp and scp, unmodified, through the balancer. */

const SIZES = [0, 1, 32_768, 300_001, 3 * 1024 * 1024 + 7];

describe("OpenSSH", () => {
  let site: Site;
  let partner: Partner;
  let raw: RawSftp;

  before(async () => {
    ensureClients("sftp", "scp", "ssh-keygen");
    site = await startSite();
    partner = await Partner.add(site, "openssh");
    raw = await partner.raw();
  });
  after(async () => {
    await raw?.end();
    await site?.stop();
  });

  /** Waits for a client's upload to have got somewhere, and tells how far. */
  const underWay = (path: string, least: number) =>
    until(`${path} has ${least} bytes`, async () => {
      const size = (await raw.stat(path)).size ?? 0;
      return size >= least ? size : undefined;
    });

  test("put and get of files of many sizes bring back the same bytes", async () => {
    for (const size of SIZES) {
      const content = writeContent(partner.local(`size-${size}`), size);
      succeeded(await sftp(partner, [`put size-${size}`, `get size-${size} back-${size}`, `ls -l size-${size}`]));
      assert.equal(sha256OfFileSync(partner.local(`back-${size}`)), sha256(content));
      assert.equal(sha256OfFileSync(partner.stored(`size-${size}`)), sha256(content));
    }
  });

  test("mput and mget move whole sets of files", async () => {
    partner.directory("set");
    partner.directory("returned");
    for (let i = 0; i < 40; i++) writeContent(partner.local("set", `item-${i}.dat`), 1_000 + i * 37);
    succeeded(await sftp(partner, ["mkdir set", "mput set/*.dat set/", "mget set/*.dat returned/"]));
    assert.equal(readdirSync(partner.local("returned")).length, 40);
    for (let i = 0; i < 40; i++) {
      const name = `item-${i}.dat`;
      assert.equal(sha256OfFileSync(partner.local("returned", name)), sha256OfFileSync(partner.local("set", name)));
    }
  });

  test("put -r and get -r move a tree", async () => {
    mkdirSync(partner.local("tree", "a", "b"), { recursive: true });
    const files = ["one", "a/two", "a/b/three"];
    for (const name of files) writeContent(partner.local("tree", name), 5_000);
    succeeded(await sftp(partner, ["put -r tree", "get -r tree tree-back"]));
    for (const name of files) {
      assert.equal(sha256OfFileSync(partner.local("tree-back", name)), sha256OfFileSync(partner.local("tree", name)));
    }
  });

  test("put -p keeps times and mode, and put -f syncs", async () => {
    writeContent(partner.local("kept"), 10_000);
    utimesSync(partner.local("kept"), 1_000_000_000, 1_000_000_000);
    chmodSync(partner.local("kept"), 0o640);
    succeeded(await sftp(partner, ["put -pf kept"]));
    const seen = await raw.stat("/kept");
    assert.equal(seen.mtime, 1_000_000_000);
    assert.equal((seen.mode ?? 0) & 0o777, 0o640);
  });

  test("put over an existing file replaces it, longer or shorter", async () => {
    for (const size of [200_000, 1_000, 300_000]) {
      const content = writeContent(partner.local("again"), size, `again-${size}`);
      succeeded(await sftp(partner, ["put again", "get again again-back"]));
      assert.equal(sha256OfFileSync(partner.local("again-back")), sha256(content));
    }
  });

  test("an interrupted put is resumed with reput, and an interrupted get with reget", async () => {
    const content = writeContent(partner.local("long"), 6 * 1024 * 1024);
    const upload = startSftp(partner, ["put long"], { limit: 16_000, buffer: 32_768, requests: 8 });
    await underWay("/long", 1_000_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    const there = (await raw.stat("/long")).size ?? 0;
    assert.ok(there < content.length, "the upload was interrupted in the middle");
    succeeded(await sftp(partner, ["reput long"]));
    assert.equal(sha256OfFileSync(partner.stored("long")), sha256(content));

    writeFileSync(partner.local("long-back"), content.subarray(0, 1_234_567));
    succeeded(await sftp(partner, ["reget long long-back"]));
    assert.equal(sha256OfFileSync(partner.local("long-back")), sha256(content));
  });

  test("a killed put over an existing file leaves the old one to readers", async () => {
    const old = writeContent(partner.local("steady"), 50_000, "old");
    succeeded(await sftp(partner, ["put steady"]));
    writeContent(partner.local("steady"), 6 * 1024 * 1024, "new");
    const upload = startSftp(partner, ["put steady"], { limit: 16_000, buffer: 32_768, requests: 8 });
    await underWay("/steady", 1_000_000);
    assert.equal(sha256OfFileSync(partner.stored("steady")), sha256(old));
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.equal(sha256(await raw.get("/steady")), sha256(old));
    succeeded(await sftp(partner, ["reput steady"]));
    assert.equal(sha256OfFileSync(partner.stored("steady")), sha256OfFileSync(partner.local("steady")));
  });

  test("rename, also over an existing file, and remove", async () => {
    const one = writeContent(partner.local("from"), 2_000, "from");
    writeContent(partner.local("onto"), 9_000, "onto");
    succeeded(await sftp(partner, ["put from", "put onto", "rename from onto"]));
    assert.equal(sha256OfFileSync(partner.stored("onto")), sha256(one));
    assert.ok(!existsSync(partner.stored("from")));
    succeeded(await sftp(partner, ["rm onto"]));
    assert.ok(!existsSync(partner.stored("onto")));
    failed(await sftp(partner, ["rm onto"]));
    failed(await sftp(partner, ["rename onto from"]));
  });

  test("mkdir, rmdir and their refusals", async () => {
    writeContent(partner.local("inside"), 10);
    succeeded(await sftp(partner, ["mkdir d1", "mkdir d1/d2", "put inside d1/d2/inside"]));
    failed(await sftp(partner, ["mkdir d1"]));
    failed(await sftp(partner, ["rmdir d1/d2"]));
    failed(await sftp(partner, ["put inside nowhere/inside"]));
    succeeded(await sftp(partner, ["rm d1/d2/inside", "rmdir d1/d2", "rmdir d1"]));
    assert.ok(!existsSync(partner.stored("d1")));
  });

  test("a directory is renamed with all that is in it", async () => {
    writeContent(partner.local("inside"), 10);
    succeeded(await sftp(partner, ["mkdir dir", "put inside dir/inside", "rename dir moved", "ls moved/inside"]));
    assert.ok(existsSync(partner.stored("moved", "inside")));
    assert.ok(!existsSync(partner.stored("dir")));
  });

  test("df, chmod, ln, ln -s and cp use the extensions and symlinks stay inside", async () => {
    const content = writeContent(partner.local("plain"), 70_000);
    succeeded(await sftp(partner, ["put plain", "df -h", "chmod 600 plain", "cp plain copied"]));
    assert.equal(sha256OfFileSync(partner.stored("copied")), sha256(content));
    succeeded(await sftp(partner, ["ln plain linked", "get linked linked-back"]));
    assert.equal(sha256OfFileSync(partner.local("linked-back")), sha256(content));
  });

  test("a wrong key is refused and says so", async () => {
    const wrong = partner.local("wrong-key");
    succeeded(await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", wrong]));
    const stranger = await run("sftp", [
      ...["-F", "/dev/null", "-o", `IdentityFile=${wrong}`, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"],
      ...["-o", `UserKnownHostsFile=${partner.local(".others")}`, "-o", "StrictHostKeyChecking=accept-new"],
      ...["-P", `${partner.port}`, `${partner.name}@${partner.host}`],
    ]);
    assert.match(failed(stranger).stderr, /permission denied/i, tell(stranger));
  });

  test("scp sends, fetches, and takes trees", async () => {
    const content = writeContent(partner.local("scp-file"), 400_000);
    succeeded(await scp(partner, ["scp-file", remote(partner, "scp-file")]));
    succeeded(await scp(partner, [remote(partner, "scp-file"), partner.local("scp-back")]));
    assert.equal(sha256OfFileSync(partner.local("scp-back")), sha256(content));
    mkdirSync(partner.local("scp-tree", "deep"), { recursive: true });
    writeContent(partner.local("scp-tree", "deep", "leaf"), 3_000);
    succeeded(await scp(partner, ["-r", "scp-tree", remote(partner, "scp-tree")]));
    succeeded(await scp(partner, ["-r", remote(partner, "scp-tree"), partner.local("scp-tree-back")]));
    assert.equal(
      sha256OfFileSync(partner.local("scp-tree-back", "deep", "leaf")),
      sha256OfFileSync(partner.local("scp-tree", "deep", "leaf")),
    );
  });

  test("scp over a longer file leaves nothing of it, and -p keeps times", async () => {
    writeContent(partner.local("longer"), 500_000, "longer");
    const content = writeContent(partner.local("shorter"), 1_000, "shorter");
    utimesSync(partner.local("shorter"), 1_000_000_000, 1_000_000_000);
    succeeded(await scp(partner, ["longer", remote(partner, "scp-over")]));
    succeeded(await scp(partner, ["-p", "shorter", remote(partner, "scp-over")]));
    assert.ok(readFileSync(partner.stored("scp-over")).equals(content));
    assert.equal(statSync(partner.stored("scp-over")).mtimeMs, 1_000_000_000_000);
  });

  test("an interrupted scp never sends CLOSE: nobody sees half a file", async () => {
    writeContent(partner.local("scp-long"), 6 * 1024 * 1024);
    const upload = startScp(partner, ["scp-long", remote(partner, "scp-long")], { limit: 16_000 });
    await underWay("/scp-long", 500_000);
    upload.process.kill("SIGINT");
    const outcome = await upload.outcome;
    assert.notEqual(outcome.code, 0, tell(outcome));
    assert.ok(!existsSync(partner.stored("scp-long")));
  });
});
