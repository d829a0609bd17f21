import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureLibraries } from "../support/clients/install.js";
import { changeSite } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { succeeded } from "../support/clients/run.js";
import {
  asyncssh,
  jsch,
  perlSftp,
  phpSsh2,
  phpseclib,
  startAsyncssh,
  startJsch,
  startPerlSftp,
} from "../support/clients/scripts.js";
import { type Site, startSite } from "../support/site.js";

/** The libraries of other languages that partners' programs are built on, from Debian, through the balancer. */

let site: Site;
const LONG = 24 * 1024 * 1024;

before(async () => {
  ensureLibraries();
  site = await startSite();
});
after(async () => {
  await site?.stop();
});

async function underWay(raw: RawSftp, path: string, least: number): Promise<void> {
  await until(`${path} has ${least} bytes`, async () => ((await raw.stat(path)).size ?? 0) >= least, {
    // Java compiles the client first.
    deadlineMs: 60_000,
  });
}

function same(left: string, right: string): void {
  assert.equal(sha256OfFileSync(left), sha256OfFileSync(right), `${left} and ${right}`);
}

function makeTree(partner: Partner, name: string): readonly string[] {
  const root = partner.directory(name);
  mkdirSync(`${root}/sub/deeper`, { recursive: true });
  mkdirSync(`${root}/hollow`);
  const files = ["empty", "one", "sub/zwei Wörter", "sub/deeper/三", "sub/deeper/it's"];
  for (const [at, file] of files.entries()) writeContent(`${root}/${file}`, at * 40_009);
  utimesSync(`${root}/one`, 1_000_000_000, 1_000_000_000);
  return files;
}

/** 10,000 entries put where they belong by hand: what is tried is the listing. */
function crowd(partner: Partner): void {
  mkdirSync(partner.stored("crowd"), { recursive: true });
  for (let i = 0; i < 10_000; i++) writeFileSync(partner.stored("crowd", `entry-${i}`), "");
}

const legacy = (legacyAlgorithms: boolean) =>
  changeSite(site, (settings) => {
    settings.sftp = { ...(settings.sftp as object), legacyAlgorithms };
  });

describe("asyncssh", () => {
  let partner: Partner;
  before(async () => {
    partner = await Partner.add(site, "asyncssh");
  });

  test("trees both ways with times, single files, blocks of any size, unicode, empty files", async () => {
    const files = makeTree(partner, "tree");
    succeeded(
      await asyncssh(
        partner,
        `
await sftp.put("tree", "tree", recurse=True, preserve=True)
await sftp.get("tree", "tree-back", recurse=True, preserve=True)
await sftp.put("tree/one", "small-blocks", block_size=1000, max_requests=200)
await sftp.put("tree/one", "large-blocks", block_size=250000, max_requests=4)
names = sorted(n for n in await sftp.listdir("tree") if n not in (".", ".."))
assert names == ["empty", "hollow", "one", "sub"], names
assert await sftp.getmtime("tree/one") == 1000000000
assert await sftp.isdir("tree/hollow") and await sftp.isfile("tree/empty") and not await sftp.exists("tree/nothing")
names = await sftp.glob("tree/*/deeper/*")
assert len(names) == 2, names
vfs = await sftp.statvfs("tree")
assert vfs.bavail > 0 and vfs.namemax >= 255, vfs
assert await sftp.realpath("tree/../tree/./sub") in ("/tree/sub", b"/tree/sub")
`,
      ),
    );
    for (const file of files) {
      same(partner.local("tree", file), partner.stored("tree", file));
      same(partner.local("tree", file), partner.local("tree-back", file));
    }
    same(partner.local("tree", "one"), partner.stored("small-blocks"));
    same(partner.local("tree", "one"), partner.stored("large-blocks"));
    assert.equal(statSync(partner.stored("tree", "one")).mtimeMs, 1_000_000_000_000);
    assert.equal(statSync(partner.local("tree-back", "one")).mtimeMs, 1_000_000_000_000);
  });

  test("rename, posix_rename, remove, rmtree, setstat, truncate, append and random writes", async () => {
    succeeded(
      await asyncssh(
        partner,
        `
async def write(path, data, mode="wb"):
    async with sftp.open(path, mode) as f:
        await f.write(data)
async def read(path):
    async with sftp.open(path, "rb") as f:
        return await f.read()
await write("a", b"a" * 100)
await write("b", b"b" * 50)
try:
    await sftp.rename("a", "b")
    raise SystemExit("plain rename over a file")
except asyncssh.SFTPError as e:
    pass
await sftp.posix_rename("a", "b")
assert await read("b") == b"a" * 100
await write("b", b"-more", "ab")
assert await read("b") == b"a" * 100 + b"-more"
async with sftp.open("b", "r+b") as f:
    await f.seek(10)
    await f.write(b"XYZ")
    await f.seek(0)
assert (await read("b"))[8:15] == b"aaXYZaa"
await sftp.truncate("b", 12)
assert await read("b") == b"a" * 10 + b"XY"
await sftp.chmod("b", 0o600)
await sftp.utime("b", (1000000000, 1000000001))
st = await sftp.stat("b")
assert st.permissions & 0o777 == 0o600 and st.mtime == 1000000001, st
async with sftp.open("b", "rb") as f:
    st = await f.stat()
    assert st.size == 12
    await f.seek(5)
    assert await f.read(3) == b"aaa"
    assert await f.read(100, 11) == b"Y"
async with sftp.open("holes", "wb") as f:
    await f.seek(100000)
    await f.write(b"end")
assert (await sftp.stat("holes")).size == 100003
await sftp.makedirs("x/y/z")
await write("x/y/z/leaf", b"leaf")
await sftp.rmtree("x")
assert not await sftp.exists("x")
try:
    await sftp.symlink("b", "link")
    raise SystemExit("symlink")
except asyncssh.SFTPError:
    pass
await sftp.link("b", "hard")
assert await read("hard") == b"a" * 10 + b"XY"
try:
    await read("nothing")
    raise SystemExit("nothing")
except asyncssh.SFTPNoSuchFile:
    pass
`,
      ),
    );
  });

  test("10,000 entries, and 50 files at once over one connection", async () => {
    crowd(partner);
    for (let i = 0; i < 50; i++) writeContent(partner.local(`at-once-${i}`), 30_000 + i * 977);
    succeeded(
      await asyncssh(
        partner,
        `
names = [n for n in await sftp.listdir("crowd") if n not in (".", "..")]
assert len(names) == 10000 and len(set(names)) == 10000, len(names)
await asyncio.gather(*(sftp.put(f"at-once-{i}", f"at-once-{i}") for i in range(50)))
await asyncio.gather(*(sftp.get(f"at-once-{i}", f"at-once-{i}-back") for i in range(50)))
`,
      ),
    );
    for (let i = 0; i < 50; i++) same(partner.local(`at-once-${i}`), partner.local(`at-once-${i}-back`));
  });

  test("a put that was killed is not seen, and is appended to from what stat says", async () => {
    const raw = await partner.raw();
    writeContent(partner.local("long"), LONG);
    const upload = startAsyncssh(partner, `await sftp.put("long", "long", block_size=4000, max_requests=2)`);
    await underWay(raw, "/long", 300_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(
      await asyncssh(
        partner,
        `
at = (await sftp.stat("long")).size
assert 0 < at < os.path.getsize("long")
with open("long", "rb") as local:
    local.seek(at)
    async with sftp.open("long", "ab") as f:
        while True:
            data = local.read(200000)
            if not data: break
            await f.write(data)
`,
      ),
    );
    same(partner.local("long"), partner.stored("long"));
    await raw.end();
  });
});

describe("Net::SFTP::Foreign", () => {
  let partner: Partner;
  before(async () => {
    partner = await Partner.add(site, "perl");
  });

  test("rput and rget move trees with times, mput and mget sets, atomic puts by a temporary name", async () => {
    const files = makeTree(partner, "tree");
    for (let i = 0; i < 10; i++) writeContent(partner.local(`set-${i}`), 1_000 + i);
    partner.directory("back");
    succeeded(
      await perlSftp(
        partner,
        `
$sftp->rput("tree", "tree") or die $sftp->error;
$sftp->rget("tree", "tree-back") or die $sftp->error;
$sftp->mput("set-*", ".") == 10 or die $sftp->error;
$sftp->mget("set-*", "back") == 10 or die $sftp->error;
$sftp->put("tree/one", "atomic", atomic => 1) or die $sftp->error;
$sftp->put("set-1", "atomic", atomic => 1, overwrite => 1) or die $sftp->error;
$sftp->put_content("some content", "content") or die $sftp->error;
$sftp->get_content("content") eq "some content" or die;
$sftp->mkpath("deep/er/est") or die $sftp->error;
my @found = $sftp->find("tree", wanted => qr/three|one|deeper/, names_only => 1);
@found == 4 or die "@found";
$sftp->rremove("deep") or die $sftp->error;
$sftp->test_d("deep") and die;
$sftp->rename("content", "moved") or die $sftp->error;
$sftp->rename("moved", "set-0") and die "a plain rename over a file";
$sftp->rename("moved", "set-0", overwrite => 1) or die $sftp->error;
$sftp->get_content("set-0") eq "some content" or die;
use Net::SFTP::Foreign::Constants qw(:flags);
my $fh = $sftp->open("lines", SSH2_FXF_WRITE|SSH2_FXF_CREAT|SSH2_FXF_TRUNC) or die $sftp->error;
print $fh "line $_\\n" for 1..5000;
close $fh or die $sftp->error;
$fh = $sftp->open("lines") or die; my $n = 0; $n++ while <$fh>; close $fh;
$n == 5000 or die $n;
`,
      ),
    );
    for (const file of files) {
      same(partner.local("tree", file), partner.stored("tree", file));
      // Perl's own strings name the local copies, in an encoding of its choice.
      if (/^[ -~]*$/.test(file)) same(partner.local("tree", file), partner.local("tree-back", file));
    }
    same(partner.local("set-1"), partner.stored("atomic"));
    assert.equal(statSync(partner.stored("tree", "one")).mtimeMs, 1_000_000_000_000);
    assert.equal(readdirSync(partner.local("back")).length, 10);
  });

  test("resume => 'auto' goes on with what a killed put left, and reget with half a file", async () => {
    const raw = await partner.raw();
    writeContent(partner.local("long"), LONG);
    const upload = startPerlSftp(partner, `$sftp->put("long", "long", block_size => 2048, queue_size => 1);`);
    await underWay(raw, "/long", 200_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(await perlSftp(partner, `$sftp->put("long", "long", resume => "auto") or die $sftp->error;`));
    same(partner.local("long"), partner.stored("long"));
    writeFileSync(partner.local("half"), readFileSync(partner.local("long")).subarray(0, 1_000_000));
    succeeded(await perlSftp(partner, `$sftp->get("long", "half", resume => "auto") or die $sftp->error;`));
    same(partner.local("long"), partner.local("half"));
    await raw.end();
  });
});

describe("phpseclib", () => {
  let partner: Partner;
  before(async () => {
    partner = await Partner.add(site, "phpseclib");
    // Debian's is of the branch 1.0, which knows SHA-1 key exchanges only.
    await legacy(true);
  });
  after(() => legacy(false));

  test("put and get, from strings and files, resume, listings, attributes, trees", async () => {
    writeContent(partner.local("one"), 3_000_001);
    crowd(partner);
    succeeded(
      await phpseclib(
        partner,
        `
must($sftp->put('one', 'one', NET_SFTP_LOCAL_FILE), 'put');
must($sftp->get('one', 'one-back'), 'get');
must($sftp->put('text', 'hello'), 'text');
must($sftp->get('text') === 'hello', 'text back');
must($sftp->put('text', ' world', NET_SFTP_STRING | NET_SFTP_RESUME), 'append');
must($sftp->get('text') === 'hello world', 'appended: ' . $sftp->get('text'));
must($sftp->put('text', 'shorter'), 'overwrite');
must($sftp->get('text') === 'shorter', 'overwritten');
must($sftp->put('empty', ''), 'empty');
must($sftp->size('empty') === 0 && $sftp->get('empty') === '', 'empty back');
must($sftp->get('one', false, 1000, 50) === substr(file_get_contents('one'), 1000, 50), 'a range');
must($sftp->size('one') === 3000001, 'size');
must($sftp->mkdir('a/b/c', -1, true), 'mkdir -p');
must($sftp->put('a/b/c/ünï', 'x'), 'unicode');
must($sftp->rename('a/b/c/ünï', 'a/moved'), 'rename');
must(!$sftp->rename('text', 'a/moved'), 'rename over');
must($sftp->chmod(0640, 'text') !== false, 'chmod');
must($sftp->touch('text', 1000000000), 'touch');
$st = $sftp->stat('text');
must($st['mtime'] === 1000000000 && ($st['permissions'] & 0777) === 0640, 'stat ' . json_encode($st));
must(count(array_diff($sftp->nlist('crowd'), ['.', '..'])) === 10000, 'nlist');
$raw = $sftp->rawlist('.');
must(isset($raw['one']) && $raw['one']['size'] === 3000001, 'rawlist');
must($sftp->is_dir('a') && $sftp->is_file('text') && !$sftp->file_exists('nothing'), 'is');
must($sftp->chdir('a') && $sftp->pwd() === '/a' && $sftp->chdir('..'), 'chdir ' . $sftp->pwd());
must($sftp->truncate('text', 3) && $sftp->get('text') === 'sho', 'truncate');
must($sftp->delete('a', true), 'delete a tree');
must(!$sftp->file_exists('a'), 'gone');
must($sftp->get('nothing') === false, 'nothing');
`,
      ),
    );
    same(partner.local("one"), partner.stored("one"));
    same(partner.local("one"), partner.local("one-back"));
  });

  test("NET_SFTP_RESUME goes on with a partial", async () => {
    const raw = await partner.raw();
    writeContent(partner.local("long"), 2_000_000);
    const handle = await raw.open("/long", 0x1a);
    await raw.writeAll(handle, readFileSync(partner.local("long")).subarray(0, 900_000));
    raw.drop();
    succeeded(
      await phpseclib(
        partner,
        `
must($sftp->size('long') === 899999, 'size ' . $sftp->size('long'));
must($sftp->put('long', 'long', NET_SFTP_LOCAL_FILE | NET_SFTP_RESUME_START, $sftp->size('long'), $sftp->size('long')), 'resume');
`,
      ),
    );
    same(partner.local("long"), partner.stored("long"));
  });
});

describe("PHP's ssh2", () => {
  test("streams, copy, rename, unlink, mkdir, stat, opendir", async () => {
    const partner = await Partner.add(site, "php-ssh2");
    writeContent(partner.local("one"), 500_003);
    succeeded(
      await phpSsh2(
        partner,
        `
must(copy('one', "$base/one"), 'copy up');
must(copy("$base/one", 'one-back'), 'copy down');
must(file_put_contents("$base/text", 'hello') === 5, 'write');
must(file_get_contents("$base/text") === 'hello', 'read ' . file_get_contents("$base/text"));
must(ssh2_sftp_mkdir($sftp, '/d') && rename("$base/text", "$base/d/text"), 'rename');
must(filesize("$base/d/text") === 5 && is_dir("$base/d"), 'stat');
must(array_values(array_diff(scandir("$base/d"), ['.', '..'])) === ['text'], 'scandir');
must(unlink("$base/d/text") && rmdir("$base/d"), 'unlink');
clearstatcache();
must(!file_exists("$base/d"), 'gone');
`,
      ),
    );
    same(partner.local("one"), partner.stored("one"));
    same(partner.local("one"), partner.local("one-back"));
  });
});

describe("JSch", () => {
  let partner: Partner;
  before(async () => {
    partner = await Partner.add(site, "jsch");
  });

  test("put and get in each mode, listings, attributes, renames", async () => {
    writeContent(partner.local("one"), 2_500_001);
    writeFileSync(partner.local("nothing-in-it"), "");
    crowd(partner);
    succeeded(
      await jsch(
        partner,
        `
    sftp.lcd(System.getProperty("user.dir"));
    sftp.put("one", "one");
    sftp.get("one", "one-back");
    sftp.put("nothing-in-it", "empty");
    must(sftp.stat("empty").getSize() == 0, "empty");
    sftp.put(new ByteArrayInputStream("hello".getBytes()), "text");
    sftp.put(new ByteArrayInputStream(" world".getBytes()), "text", ChannelSftp.APPEND);
    BufferedReader r = new BufferedReader(new InputStreamReader(sftp.get("text")));
    String line = r.readLine(); r.close();
    must(line.equals("hello world"), line);
    OutputStream out = sftp.put("stream");
    for (int i = 0; i < 3000; i++) out.write(("line " + i + "\\n").getBytes());
    out.close();
    must(sftp.ls("crowd").size() >= 10000, "ls");
    sftp.mkdir("d"); sftp.rename("text", "d/text");
    sftp.chmod(0640, "d/text"); sftp.setMtime("d/text", 1000000000);
    SftpATTRS a = sftp.stat("d/text");
    must(a.getMTime() == 1000000000 && (a.getPermissions() & 0777) == 0640, a.toString());
    sftp.rename("one", "d/text");
    must(sftp.stat("d/text").getSize() == 2500001, "rename over a file");
    must(sftp.realpath("d/../d").equals("/d"), sftp.realpath("d/../d"));
    try { sftp.stat("nowhere"); throw new RuntimeException("nowhere"); }
    catch (SftpException e) { must(e.id == ChannelSftp.SSH_FX_NO_SUCH_FILE, "code " + e.id); }
    must(sftp.statVFS("/").getAvail() > 0, "statvfs");
    sftp.rm("d/*"); sftp.rmdir("d");
`,
      ),
    );
    same(partner.local("one"), partner.local("one-back"));
    assert.equal(readFileSync(partner.stored("stream"), "utf8").split("\n").length, 3_001);
  });

  test("RESUME goes on with what a killed put left", async () => {
    const raw = await partner.raw();
    writeContent(partner.local("long"), LONG);
    const upload = startJsch(
      partner,
      `sftp.put(new FilterInputStream(new FileInputStream("long")) {
         public int read(byte[] b, int o, int n) throws IOException {
           try { Thread.sleep(5); } catch (InterruptedException e) {}
           return super.read(b, o, Math.min(n, 8192));
         }
       }, "long");`,
    );
    await underWay(raw, "/long", 300_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    assert.ok(!existsSync(partner.stored("long")));
    succeeded(
      await jsch(partner, `sftp.lcd(System.getProperty("user.dir")); sftp.put("long", "long", ChannelSftp.RESUME);`),
    );
    same(partner.local("long"), partner.stored("long"));
    await raw.end();
  });
});
