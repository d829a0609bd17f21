import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { succeeded } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** Names that clients send by mistake or malice: kept byte for byte, or refused; never a way out. */

const CONTENT = Buffer.from("named");

/** Legal names: each must come back exactly as it was sent. */
const GOOD: Readonly<Record<string, string | Buffer>> = {
  "Latin letters with marks": "Übergröße-naïve.txt",
  "the same letters decomposed": "Übergröße-naïve.txt".normalize("NFD"),
  Chinese: "港口-碼頭.txt",
  "right to left": "ملف-נמל.csv",
  emoji: "🚢-⚓.bin",
  "a newline": "line\nbreak",
  "a carriage return and a tab": "a\r\tb",
  "control bytes": "\u0001\u001b[31mred\u007f",
  "spaces at both ends": "  spaced  ",
  "a leading dash": "-rf",
  quotes: `"'\`$(id);&|<>`,
  backslashes: "C:\\temp\\..\\x",
  "glob characters": "*?[a-z]{b}",
  "three dots": "...",
  "a dot at the end": "dot.",
  "a tilde": "~root",
  "percent signs": "%00%2e%2e%2f",
  "255 bytes": "n".repeat(255),
  "255 bytes of UTF-8": `${"ü".repeat(127)}x`,
};

describe("hostile names", () => {
  let site: Site;
  let partner: Partner;
  let raw: RawSftp;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await startSite();
    partner = await Partner.add(site, "names");
    raw = await partner.raw();
  });
  after(async () => {
    await raw?.end();
    await site?.stop();
  });

  const listing = async (path: string) => (await raw.list(path)).map(({ name }) => name.toString("hex"));
  const hex = (name: string | Buffer) => Buffer.from(name).toString("hex");

  for (const [what, name] of Object.entries(GOOD)) {
    test(`a name with ${what} is kept byte for byte: put, list, rename, get, remove`, async () => {
      await raw.mkdir("/good");
      const path = Buffer.concat([Buffer.from("/good/"), Buffer.from(name)]);
      await raw.put(path, CONTENT);
      assert.deepEqual(await listing("/good"), [hex(name)]);
      assert.deepEqual(
        readdirSync(Buffer.from(partner.stored("good")), { encoding: "buffer" }).map((b) => b.toString("hex")),
        [hex(name)],
      );
      await raw.rename(path, "/good/plain");
      await raw.rename("/good/plain", path);
      assert.ok((await raw.get(path)).equals(CONTENT));
      await raw.remove(path);
      await raw.mkdir(path);
      assert.deepEqual(await listing("/good"), [hex(name)]);
      await raw.rmdir(path);
      await raw.rmdir("/good");
    });
  }

  test("composed and decomposed letters are two files", async () => {
    await raw.mkdir("/forms");
    await raw.put("/forms/é".normalize("NFC"), Buffer.from("one"));
    await raw.put("/forms/é".normalize("NFD"), Buffer.from("two"));
    assert.equal((await raw.list("/forms")).length, 2);
    assert.equal((await raw.get("/forms/é".normalize("NFC"))).toString(), "one");
  });

  test("a name that isn't UTF-8 is kept byte for byte or refused, and never becomes another name", async () => {
    await raw.mkdir("/bytes");
    const names = [Buffer.from([0xff, 0xfe]), Buffer.from([0x61, 0xc3]), Buffer.from([0xed, 0xa0, 0x80])];
    const kept: string[] = [];
    for (const name of names) {
      const path = Buffer.concat([Buffer.from("/bytes/"), name]);
      const code = await codeOf(raw.put(path, name));
      if (code === Status.OK) {
        kept.push(name.toString("hex"));
        assert.ok((await raw.get(path)).equals(name));
      } else {
        assert.ok(
          [Status.FAILURE, Status.BAD_MESSAGE].some((one) => one === code),
          `refused with ${code}`,
        );
      }
    }
    assert.deepEqual((await listing("/bytes")).sort(), kept.sort());
  });

  test("a name of another program that isn't UTF-8 doesn't break a listing", async () => {
    mkdirSync(partner.stored("mixed"));
    writeFileSync(Buffer.concat([Buffer.from(`${partner.stored("mixed")}/`), Buffer.from([0x80, 0x61])]), "x");
    writeFileSync(partner.stored("mixed", "fine"), "x");
    assert.ok((await listing("/mixed")).includes(hex("fine")));
  });

  test("256 bytes are too long: an error, no file, and the session goes on", async () => {
    for (const name of ["n".repeat(256), `${"ü".repeat(127)}xyz`, "n".repeat(5_000)]) {
      const code = await codeOf(raw.open(`/${name}`, Open.W | Open.C | Open.T));
      assert.equal(code, Status.BAD_MESSAGE, `${name.length} characters`);
      assert.notEqual(await codeOf(raw.mkdir(`/${name}`)), Status.OK);
      assert.notEqual(await codeOf(raw.stat(`/${name}`)), Status.OK);
    }
    await raw.put("/after", CONTENT);
    assert.notEqual(await codeOf(raw.rename("/after", `/${"n".repeat(256)}`)), Status.OK);
    assert.ok((await raw.get("/after")).equals(CONTENT));
  });

  test("a path of many parts past the system's limit is an error", async () => {
    const path = "/d".repeat(4_000);
    assert.notEqual(await codeOf(raw.stat(path)), Status.OK);
    assert.notEqual(await codeOf(raw.open(path, Open.W | Open.C)), Status.OK);
  });

  test("NUL ends nothing: a name with it is refused by every operation", async () => {
    await raw.put("/nul", CONTENT);
    const path = "/nul\0.exe";
    const operations: Promise<unknown>[] = [
      raw.open(path, Open.W | Open.C | Open.T),
      raw.open(path, Open.R),
      raw.stat(path),
      raw.lstat(path),
      raw.opendir(path),
      raw.mkdir(path),
      raw.rmdir(path),
      raw.remove(path),
      raw.rename("/nul", path),
      raw.posixRename("/nul", path),
      raw.setstat(path, { mode: 0o100000 }),
      raw.symlink("/nul", path),
    ];
    for (const operation of operations) assert.notEqual(await codeOf(operation), Status.OK);
    assert.ok((await raw.get("/nul")).equals(CONTENT));
  });

  test("dots lead nowhere but to the home: STAT, OPEN, OPENDIR, RENAME, REALPATH", async () => {
    writeFileSync(join(site.endpoints().storage.path, "outside"), "secret");
    for (const path of ["/../outside", "../outside", "/a/../../outside", "/./../outside", "..//..//outside"]) {
      assert.equal(await codeOf(raw.stat(path)), Status.NO_SUCH_FILE, path);
      assert.equal(await codeOf(raw.open(path, Open.R)), Status.NO_SUCH_FILE, path);
    }
    assert.equal(await codeOf(raw.stat("/etc/passwd")), Status.NO_SUCH_FILE);
    for (const [path, real] of [
      ["/../..", "/"],
      [".", "/"],
      ["", "/"],
      ["/a/./b//c/..", "/a/b"],
      ["../../etc", "/etc"],
    ] as const) {
      assert.equal(await raw.realpath(path), real);
    }
    await raw.put("/../../../climbed", CONTENT);
    assert.ok(existsSync(partner.stored("climbed")));
    await raw.rename("/climbed", "/../moved");
    assert.ok(existsSync(partner.stored("moved")));
  });

  test("an absolute name is under the home", async () => {
    await raw.mkdir("/tmp");
    await raw.put("/tmp/longshore-absolute", CONTENT);
    assert.ok(existsSync(partner.stored("tmp", "longshore-absolute")));
    assert.ok(!existsSync("/tmp/longshore-absolute"));
  });

  test("the root can't be opened for writing, removed, renamed or replaced", async () => {
    await raw.put("/victim", CONTENT);
    for (const path of ["/", "", ".", "/.."]) {
      assert.notEqual(await codeOf(raw.open(path, Open.W | Open.C | Open.T)), Status.OK, path);
      assert.notEqual(await codeOf(raw.remove(path)), Status.OK, path);
      assert.notEqual(await codeOf(raw.rmdir(path)), Status.OK, path);
      assert.notEqual(await codeOf(raw.rename(path, "/elsewhere")), Status.OK, path);
      assert.notEqual(await codeOf(raw.posixRename("/victim", path)), Status.OK, path);
    }
    assert.ok((await raw.get("/victim")).equals(CONTENT));
  });

  test("the store's own directory can't be reached or made to look like one", async () => {
    assert.ok(existsSync(join(site.endpoints().storage.path, ".longshore")), "it is on the storage");
    for (const path of ["/.longshore", "/../.longshore", "/.longshore/ops", "/.longshore/../.longshore/partials"]) {
      assert.notEqual(await codeOf(raw.opendir(path)), Status.OK, path);
      assert.notEqual(await codeOf(raw.stat(path)), Status.OK, path);
    }
    assert.ok(!(await raw.list("/")).some(({ name }) => name.toString() === ".longshore"));
    // Own files of that name are the home's, or refused; they never touch the store's.
    const code = await codeOf(raw.mkdir("/.longshore"));
    if (code === Status.OK) await raw.rmdir("/.longshore");
    await raw.put("/still-works", CONTENT);
  });

  test("a symbolic link that leads out is neither followed nor written through", async () => {
    const outside = join(site.endpoints().storage.path, "private");
    mkdirSync(outside);
    writeFileSync(join(outside, "file"), "secret");
    for (const [name, target] of [
      ["absolute", outside],
      ["relative", "../private"],
      ["etc", "/etc"],
    ] as const) {
      symlinkSync(target, partner.stored(name));
      assert.notEqual(await codeOf(raw.stat(`/${name}/file`)), Status.OK, name);
      assert.notEqual(await codeOf(raw.stat(`/${name}`)), Status.OK, name);
      assert.notEqual(await codeOf(raw.open(`/${name}/passwd`, Open.R)), Status.OK, name);
      assert.notEqual(await codeOf(raw.put(`/${name}/new`, CONTENT)), Status.OK, name);
      assert.notEqual(await codeOf(raw.mkdir(`/${name}/made`)), Status.OK, name);
      assert.notEqual(await codeOf(raw.opendir(`/${name}`)), Status.OK, name);
      assert.notEqual(await codeOf(raw.rename("/still-works", `/${name}/moved`)), Status.OK, name);
    }
    symlinkSync(join(outside, "file"), partner.stored("link-file"));
    assert.notEqual(await codeOf(raw.open("/link-file", Open.R)), Status.OK);
    assert.notEqual(await codeOf(raw.open("/link-file", Open.W)), Status.OK);
    assert.deepEqual(readdirSync(outside), ["file"]);
    await raw.remove("/absolute");
    assert.ok(
      !existsSync(partner.stored("absolute")) && existsSync(join(outside, "file")),
      "the link goes, not its target",
    );
  });

  test("a symbolic link that a client makes stays inside", async () => {
    await raw.put("/inside", CONTENT);
    if ((await codeOf(raw.symlink("/inside", "/to-inside"))) === Status.OK) {
      assert.ok((await raw.get("/to-inside")).equals(CONTENT));
    }
    const code = await codeOf(raw.symlink("../../../../etc/passwd", "/to-etc"));
    assert.notEqual(await codeOf(raw.open("/to-etc", Open.R)), Status.OK);
    if (code === Status.OK) assert.ok(lstatSync(partner.stored("to-etc")).isSymbolicLink());
  });

  test("OpenSSH sftp moves files with spaces, quotes, unicode and 255 bytes in their names", async () => {
    const names = ["with space", "qu'ote", "Übergröße", "n".repeat(255)];
    for (const name of names) {
      writeContent(partner.local(name), 5_000, name);
      succeeded(await sftp(partner, [`put "${name}"`, `get "${name}" "back"`]));
      assert.ok(existsSync(partner.stored(name)), name);
    }
  });
});
