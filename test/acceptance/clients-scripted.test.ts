import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { curl, curlSpeaksSftp, startCurl } from "../support/clients/curl.js";
import { ensureClients, ensureParamiko } from "../support/clients/install.js";
import { paramiko, startParamiko } from "../support/clients/paramiko.js";
import { Partner } from "../support/clients/partner.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { failed, succeeded } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** The clients that people script with: paramiko and curl, from Debian, through the balancer. */

let site: Site;

before(async () => {
  ensureClients("curl", "ssh-keygen");
  ensureParamiko();
  site = await startSite();
});
after(async () => {
  await site?.stop();
});

async function underWay(raw: RawSftp, path: string, least: number): Promise<number> {
  return await until(`${path} has ${least} bytes`, async () => {
    const size = (await raw.stat(path)).size ?? 0;
    return size >= least ? size : undefined;
  });
}

describe("paramiko", () => {
  let partner: Partner;
  let raw: RawSftp;
  before(async () => {
    partner = await Partner.add(site, "paramiko");
    raw = await partner.raw();
  });
  after(() => raw?.end());

  test("put and get with its own confirmation, and the file-like calls", async () => {
    const content = writeContent(partner.local("one"), 2_000_003);
    succeeded(
      await paramiko(
        partner,
        `
st = sftp.put("one", "one", confirm=True)
assert st.st_size == os.path.getsize("one"), st
sftp.get("one", "one-back")
with sftp.open("one", "rb") as f:
    f.prefetch()
    data = f.read()
assert data == open("one", "rb").read()
with sftp.open("text", "w") as f:
    f.write("hello")
with sftp.open("text", "a") as f:
    f.write(" world")
with sftp.open("text", "r+") as f:
    f.seek(0); f.write("J")
assert sftp.open("text").read() == b"Jello world"
try:
    sftp.open("text", "x")
    raise SystemExit("x over an existing file")
except IOError as e:
    pass
with sftp.open("new", "wx") as f:
    f.write("new")
`,
      ),
    );
    assert.equal(sha256OfFileSync(partner.local("one-back")), sha256(content));
    assert.equal(readFileSync(partner.stored("text"), "utf8"), "Jello world");
    assert.equal(readFileSync(partner.stored("new"), "utf8"), "new");
  });

  test("mkdir, listdir_attr, stat, chmod, utime, truncate, rename, posix_rename, remove, rmdir", async () => {
    succeeded(
      await paramiko(
        partner,
        `
sftp.mkdir("d", 0o750)
for n in ("a", "b"):
    with sftp.open("d/" + n, "w") as f:
        f.write(n * 100)
assert sorted(e.filename for e in sftp.listdir_attr("d")) == ["a", "b"]
assert all(e.st_size == 100 for e in sftp.listdir_attr("d"))
sftp.chmod("d/a", 0o640)
sftp.utime("d/a", (1000000000, 1000000000))
st = sftp.stat("d/a")
assert st.st_mtime == 1000000000 and st.st_mode & 0o777 == 0o640, st
sftp.truncate("d/a", 10)
assert sftp.stat("d/a").st_size == 10
try:
    sftp.rename("d/a", "d/b")
    raise SystemExit("plain rename over a file")
except IOError:
    pass
sftp.posix_rename("d/a", "d/b")
assert sftp.listdir("d") == ["b"]
try:
    sftp.rmdir("d")
    raise SystemExit("rmdir of a full directory")
except IOError:
    pass
sftp.remove("d/b"); sftp.rmdir("d")
try:
    sftp.stat("d")
    raise SystemExit("still there")
except FileNotFoundError:
    pass
assert sftp.normalize(".") == "/", sftp.normalize(".")
`,
      ),
    );
    assert.ok(!existsSync(partner.stored("d")));
  });

  test("a put that died is appended to from where FSTAT says", async () => {
    const content = writeContent(partner.local("long"), 24 * 1024 * 1024);
    const upload = startParamiko(partner, `sftp.put("long", "long")`);
    await underWay(raw, "/long", 200_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")), "it was interrupted in the middle");
    succeeded(
      await paramiko(
        partner,
        `
with sftp.open("long", "ab") as f, open("long", "rb") as l:
    at = f.stat().st_size
    assert 0 < at < os.path.getsize("long"), at
    l.seek(at); f.set_pipelined(True)
    while True:
        b = l.read(32768)
        if not b: break
        f.write(b)
`,
      ),
    );
    assert.equal(sha256OfFileSync(partner.stored("long")), sha256(content));
  });

  test("1,000 small files in one session", async () => {
    succeeded(
      await paramiko(
        partner,
        `
sftp.mkdir("small")
for i in range(1000):
    with sftp.open("small/%d" % i, "wb") as f:
        f.write(b"%d" % i)
assert len(sftp.listdir("small")) == 1000
`,
        { deadlineMs: 120_000 },
      ),
    );
    assert.equal(readFileSync(partner.stored("small", "777"), "utf8"), "777");
  });
});

describe("curl", { skip: curlSpeaksSftp() ? false : "this machine's curl has no SFTP" }, () => {
  let partner: Partner;
  let raw: RawSftp;
  before(async () => {
    partner = await Partner.add(site, "curl");
    raw = await partner.raw();
  });
  after(() => raw?.end());

  test("upload, download, range, listing", async () => {
    const content = writeContent(partner.local("one"), 700_001);
    succeeded(await curl(partner, "/one", ["-T", "one"]));
    succeeded(await curl(partner, "/one", ["-o", "one-back"]));
    assert.equal(sha256OfFileSync(partner.local("one-back")), sha256(content));
    succeeded(await curl(partner, "/one", ["-r", "1000-1999", "-o", "part"]));
    assert.ok(readFileSync(partner.local("part")).equals(content.subarray(1_000, 2_000)));
    assert.match(succeeded(await curl(partner, "/", [])).stdout, / one$/m);
  });

  test("upload over a longer file, append, and directories that it makes itself", async () => {
    writeContent(partner.local("longer"), 400_000, "longer");
    const content = writeContent(partner.local("shorter"), 90_000, "shorter");
    succeeded(await curl(partner, "/over", ["-T", "longer"]));
    succeeded(await curl(partner, "/over", ["-T", "shorter"]));
    assert.equal(sha256OfFileSync(partner.stored("over")), sha256(content));
    succeeded(await curl(partner, "/over", ["-a", "-T", "shorter"]));
    assert.equal(sha256OfFileSync(partner.stored("over")), sha256(Buffer.concat([content, content])));
    succeeded(await curl(partner, "/p/q/shorter", ["--ftp-create-dirs", "-T", "shorter"]));
    assert.equal(sha256OfFileSync(partner.stored("p", "q", "shorter")), sha256(content));
  });

  test("rename, chmod, mkdir, rm by quoted commands", async () => {
    writeFileSync(partner.local("q"), "quoted");
    const quote = (...commands: string[]) => commands.flatMap((command) => ["-Q", command]);
    succeeded(await curl(partner, "/q", ["-T", "q"]));
    succeeded(
      await curl(partner, "/", ["-o", "/dev/null", ...quote("mkdir /qd", "rename /q /qd/q2", "chmod 600 /qd/q2")]),
    );
    assert.equal(statSync(partner.stored("qd", "q2")).mode & 0o777, 0o600);
    succeeded(await curl(partner, "/", ["-o", "/dev/null", ...quote("rm /qd/q2", "rmdir /qd")]));
    assert.ok(!existsSync(partner.stored("qd")));
    failed(await curl(partner, "/nowhere", ["-o", "/dev/null"]));
  });

  test("an upload that died is resumed with -C -", async () => {
    const content = writeContent(partner.local("long"), 5 * 1024 * 1024);
    const upload = startCurl(partner, "/long", ["--limit-rate", "2M", "-T", "long"]);
    await underWay(raw, "/long", 500_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(await curl(partner, "/long", ["-C", "-", "-T", "long"]));
    assert.equal(sha256OfFileSync(partner.stored("long")), sha256(content));
  });

  test("a wrong password is refused", async () => {
    const outcome = failed(await curl(partner, "/", ["--user", `${partner.name}:wrong`]));
    assert.equal(outcome.code, 67, "curl: login denied");
  });
});
