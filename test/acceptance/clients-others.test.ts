import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { lftp, startLftp } from "../support/clients/lftp.js";
import { learnHostKey } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { psftp, startPsftp } from "../support/clients/psftp.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { rclone } from "../support/clients/rclone.js";
import { failed, succeeded } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** lftp, rclone and psftp from Debian, through the balancer. */

let site: Site;

before(async () => {
  ensureClients("lftp", "rclone", "psftp", "ssh-keygen", "ssh-keyscan");
  site = await startSite();
});
after(async () => {
  await site?.stop();
});

/** A session that looks at an upload from beside it. */
async function underWay(raw: RawSftp, path: string, least: number): Promise<void> {
  await until(`${path} has ${least} bytes`, async () => ((await raw.stat(path)).size ?? 0) >= least);
}

function equalTrees(left: string, right: string): void {
  const names = (root: string) => readdirSync(root, { recursive: true }).map(String).sort();
  assert.deepEqual(names(left), names(right));
  for (const name of names(left)) {
    if (statSync(`${left}/${name}`).isFile()) {
      assert.equal(sha256OfFileSync(`${left}/${name}`), sha256OfFileSync(`${right}/${name}`), name);
    }
  }
}

function makeTree(partner: Partner, name: string): string {
  const root = partner.directory(name);
  mkdirSync(`${root}/sub/deeper`, { recursive: true });
  for (let i = 0; i < 12; i++) writeContent(`${root}/file-${i}`, i * 9_001);
  writeContent(`${root}/sub/deeper/leaf`, 123_456);
  return root;
}

describe("lftp", () => {
  let partner: Partner;
  let raw: RawSftp;
  before(async () => {
    partner = await Partner.add(site, "lftp");
    raw = await partner.raw();
  });
  after(() => raw?.end());

  test("put, get, mput, mget, mv, rm, mkdir -p, rmdir", async () => {
    const content = writeContent(partner.local("one"), 900_001);
    makeTree(partner, "many");
    partner.directory("back");
    succeeded(
      await lftp(partner, [
        "put one",
        "get one -o one-back",
        "mkdir -p m/n",
        "mput -O m many/file-*",
        "mget -O back m/file-*",
        "mv one two",
        "mkdir gone",
        "rmdir gone",
      ]),
    );
    assert.equal(sha256OfFileSync(partner.local("one-back")), sha256(content));
    assert.equal(sha256OfFileSync(partner.stored("two")), sha256(content));
    assert.ok(!existsSync(partner.stored("one")));
    for (let i = 0; i < 12; i++) {
      assert.equal(
        sha256OfFileSync(partner.local("back", `file-${i}`)),
        sha256OfFileSync(partner.local("many", `file-${i}`)),
      );
    }
    succeeded(await lftp(partner, ["rm two"]));
    assert.ok(!existsSync(partner.stored("two")));
  });

  test("put over an existing file replaces it, and mv over one is refused (it asks for a plain RENAME)", async () => {
    writeContent(partner.local("over"), 100_000, "first");
    succeeded(await lftp(partner, ["put over"]));
    const content = writeContent(partner.local("over"), 3_000, "second");
    succeeded(await lftp(partner, ["put over"]));
    assert.equal(sha256OfFileSync(partner.stored("over")), sha256(content));
    writeContent(partner.local("other"), 2_000, "other");
    failed(await lftp(partner, ["put other", "mv other over"]));
    assert.equal(sha256OfFileSync(partner.stored("over")), sha256(content));
    assert.equal(sha256OfFileSync(partner.stored("other")), sha256OfFileSync(partner.local("other")));
  });

  test("mirror -R and mirror move a tree with its times", async () => {
    const root = makeTree(partner, "tree");
    utimesSync(`${root}/file-3`, 1_000_000_000, 1_000_000_000);
    succeeded(await lftp(partner, ["mirror -R tree tree", "mirror tree tree-back"]));
    equalTrees(root, partner.local("tree-back"));
    assert.equal(statSync(partner.stored("tree", "file-3")).mtimeMs, 1_000_000_000_000);
  });

  test("put -c resumes what an interrupted put left", async () => {
    const content = writeContent(partner.local("long"), 5 * 1024 * 1024);
    const upload = startLftp(partner, ["put long"], { limit: 1_500_000 });
    await underWay(raw, "/long", 700_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(await lftp(partner, ["put -c long"]));
    assert.equal(sha256OfFileSync(partner.stored("long")), sha256(content));
  });
});

describe("rclone", () => {
  let partner: Partner;
  before(async () => {
    partner = await Partner.add(site, "rclone");
    await learnHostKey(partner);
  });

  test("copy up and down, check, and a second run that copies nothing", async () => {
    const root = makeTree(partner, "tree");
    succeeded(await rclone(partner, ["copy", "tree", "site:tree"]));
    succeeded(await rclone(partner, ["check", "--download", "tree", "site:tree"]));
    succeeded(await rclone(partner, ["copy", "site:tree", "tree-back"]));
    equalTrees(root, partner.local("tree-back"));
    const again = succeeded(await rclone(partner, ["copy", "-v", "--stats-one-line", "tree", "site:tree"]));
    assert.doesNotMatch(again.stderr, /: Copied/);
  });

  test("sync deletes, copyto overwrites, moveto renames, deletefile removes", async () => {
    const content = writeContent(partner.local("a"), 50_000, "a");
    writeContent(partner.local("b"), 80_000, "b");
    succeeded(await rclone(partner, ["copyto", "b", "site:dir/x"]));
    succeeded(await rclone(partner, ["copyto", "a", "site:dir/x"]));
    assert.equal(sha256OfFileSync(partner.stored("dir", "x")), sha256(content));
    succeeded(await rclone(partner, ["moveto", "site:dir/x", "site:dir/y"]));
    assert.deepEqual(readdirSync(partner.stored("dir")), ["y"]);
    partner.directory("empty");
    writeFileSync(partner.local("empty", "only"), "only");
    succeeded(await rclone(partner, ["sync", "empty", "site:dir"]));
    assert.deepEqual(readdirSync(partner.stored("dir")), ["only"]);
    succeeded(await rclone(partner, ["deletefile", "site:dir/only"]));
    succeeded(await rclone(partner, ["rmdir", "site:dir"]));
    assert.ok(!existsSync(partner.stored("dir")));
  });

  test("rcat streams, cat reads, lsjson tells sizes and times", async () => {
    const content = writeContent(partner.local("streamed"), 700_000);
    utimesSync(partner.local("streamed"), 1_000_000_000, 1_000_000_000);
    succeeded(await rclone(partner, ["copyto", "streamed", "site:streamed"]));
    const listing = JSON.parse(succeeded(await rclone(partner, ["lsjson", "site:streamed"])).stdout) as {
      Size: number;
      ModTime: string;
    }[];
    assert.equal(listing[0]?.Size, content.length);
    assert.equal(Date.parse(listing[0]?.ModTime ?? ""), 1_000_000_000_000);
  });

  test("a file in a directory that isn't there makes the directory", async () => {
    writeContent(partner.local("deep"), 10);
    succeeded(await rclone(partner, ["copyto", "deep", "site:p/q/r/deep"]));
    assert.ok(existsSync(partner.stored("p", "q", "r", "deep")));
  });
});

describe("psftp", () => {
  let partner: Partner;
  let raw: RawSftp;
  let fingerprint: string;
  before(async () => {
    partner = await Partner.add(site, "psftp");
    fingerprint = await learnHostKey(partner);
    raw = await partner.raw();
  });
  after(() => raw?.end());

  test("put, get, mput, mget, mv, del, mkdir, rmdir by password", async () => {
    const content = writeContent(partner.local("one"), 600_001);
    makeTree(partner, "many");
    partner.directory("back");
    succeeded(
      await psftp(partner, fingerprint, [
        "put one",
        "get one one-back",
        "mkdir m",
        "cd m",
        "lcd many",
        "mput file-*",
        "lcd ../back",
        "mget file-*",
        "cd ..",
        "mv one two",
        "mkdir gone",
        "rmdir gone",
        "dir",
      ]),
    );
    assert.equal(sha256OfFileSync(partner.local("one-back")), sha256(content));
    assert.equal(sha256OfFileSync(partner.stored("two")), sha256(content));
    for (let i = 0; i < 12; i++) {
      assert.equal(
        sha256OfFileSync(partner.local("back", `file-${i}`)),
        sha256OfFileSync(partner.local("many", `file-${i}`)),
      );
    }
    succeeded(await psftp(partner, fingerprint, ["del two"]));
    failed(await psftp(partner, fingerprint, ["get two"]));
  });

  test("put over an existing file replaces it", async () => {
    writeContent(partner.local("over"), 100_000, "first");
    succeeded(await psftp(partner, fingerprint, ["put over"]));
    const content = writeContent(partner.local("over"), 3_000, "second");
    succeeded(await psftp(partner, fingerprint, ["put over"]));
    assert.ok(readFileSync(partner.stored("over")).equals(content));
  });

  test("reput resumes what a killed put left, from what FSTAT says", async () => {
    const content = writeContent(partner.local("long"), 60 * 1024 * 1024);
    const upload = startPsftp(partner, fingerprint, ["put long"]);
    await underWay(raw, "/long", 300_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(((await raw.stat("/long")).size ?? 0) < content.length - 1, "interrupted in the middle");
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(await psftp(partner, fingerprint, ["reput long"]));
    assert.equal(sha256OfFileSync(partner.stored("long")), sha256(content));
  });
});
