import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { after, before, describe, test } from "node:test";
import { bytes, seeded, sha256, sha256OfFile, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { lftp } from "../support/clients/lftp.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { run, succeeded } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";

/** Much of something: entries, bytes, sessions, writers of one name. */

/** Size of the large file, MiB. */
const LARGE_MIB = Number(process.env.LONGSHORE_LARGE_MIB ?? 4_096);

describe("load", () => {
  let site: Site;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "lftp", "ssh-keygen");
    site = await startSite();
    partner = await Partner.add(site, "load");
  });
  after(async () => {
    await site?.stop();
  });

  test("a listing of 10,000 entries is whole, without doubles, for raw READDIR, sftp and lftp", async () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `entry-${String(i).padStart(5, "0")}-${"x".repeat(i % 40)}`);
    mkdirSync(partner.stored("many"), { recursive: true });
    for (const name of names) writeFileSync(partner.stored("many", name), "");
    const raw = await partner.raw();
    const listed = (await raw.list("/many")).map(({ name }) => name.toString());
    assert.equal(listed.length, names.length);
    assert.deepEqual(listed.sort(), names);
    await raw.end();
    const lines = (text: string) => text.split("\n").filter((line) => line.includes("entry-")).length;
    assert.equal(lines(succeeded(await sftp(partner, ["ls -1 many"])).stdout), names.length);
    assert.equal(lines(succeeded(await sftp(partner, ["ls -l many"])).stdout), names.length);
    assert.equal(lines(succeeded(await lftp(partner, ["cls -1 many"])).stdout), names.length);
  });

  test(`a file of ${LARGE_MIB} MiB goes both ways across many rekeys`, { timeout: 900_000 }, async () => {
    // Memory, not the disk, holds the local copies where there is enough; the file is sparse but for islands.
    const directory = existsSync("/dev/shm") ? `/dev/shm/longshore-large-${process.pid}` : partner.directory("large");
    mkdirSync(directory, { recursive: true });
    try {
      const source = `${directory}/source`;
      writeFileSync(source, "");
      truncateSync(source, LARGE_MIB * 1024 * 1024 + 1_234);
      const fd = openSync(source, "r+");
      const random = seeded(4);
      for (let i = 0; i < 200; i++) {
        writeSync(fd, bytes(10_000, i), 0, 10_000, Math.floor(random() * (LARGE_MIB * 1024 * 1024 - 10_000)));
      }
      closeSync(fd);
      const rekeys = { settings: ["RekeyLimit=256M", "LogLevel=DEBUG1"], deadlineMs: 400_000 };
      const up = succeeded(await sftp(partner, [`put ${source} large`], rekeys));
      const rekeyed = (text: string) => (text.match(/SSH2_MSG_NEWKEYS sent/g) ?? []).length;
      assert.ok(rekeyed(up.stderr) >= LARGE_MIB / 512, `${rekeyed(up.stderr)} key exchanges on the way up`);
      assert.equal(statSync(partner.stored("large")).size, statSync(source).size);
      const sum = await sha256OfFile(source);
      assert.equal(await sha256OfFile(partner.stored("large")), sum);
      rmSync(source);
      const down = succeeded(await sftp(partner, [`get large ${directory}/back`], rekeys));
      assert.ok(rekeyed(down.stderr) >= LARGE_MIB / 512, `${rekeyed(down.stderr)} key exchanges on the way down`);
      assert.equal(await sha256OfFile(`${directory}/back`), sum);
    } finally {
      rmSync(directory, { recursive: true, force: true });
      rmSync(partner.stored("large"), { force: true });
    }
  });

  // Random content, in every byte: reads, decipher and blocks use their memory again and again, and zeros would hide it.
  for (const cipher of ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"]) {
    test(`uploads side by side across key exchanges under ${cipher} are right in every byte`, async () => {
      const sizes = [47_000_001, 31_000_003, 9_999_999];
      const settings = [`Ciphers=${cipher}`, "RekeyLimit=5M"];
      const uploads = sizes.map(async (size, index) => {
        const name = `random-${cipher.slice(0, 6)}-${index}`;
        writeFileSync(partner.local(name), randomBytes(size));
        succeeded(await sftp(partner, [`put ${name}`], { settings, buffer: index === 1 ? 32_768 : 261_120 }));
        assert.equal(sha256OfFileSync(partner.stored(name)), sha256OfFileSync(partner.local(name)));
        rmSync(partner.stored(name));
      });
      await Promise.all(uploads);
    });
  }

  test("24 parallel sftp clients each get their own files right", { timeout: 300_000 }, async () => {
    const clients = Array.from({ length: 24 }, (_, i) => i);
    for (const i of clients) writeContent(partner.local(`p${i}`), 400_000 + i * 1_001);
    const outcomes = await Promise.all(
      clients.map((i) =>
        sftp(partner, [
          `mkdir par${i}`,
          `put p${i} par${i}/a`,
          `put p${i} par${i}/b`,
          `get par${i}/a p${i}-back`,
          `rm par${i}/b`,
        ]),
      ),
    );
    for (const outcome of outcomes) succeeded(outcome);
    for (const i of clients) {
      assert.equal(sha256OfFileSync(partner.local(`p${i}-back`)), sha256OfFileSync(partner.local(`p${i}`)));
      assert.ok(!existsSync(partner.stored(`par${i}`, "b")));
    }
  });

  test("parallel sessions through the balancer land on more than one node", async () => {
    const sessions = await Promise.all(Array.from({ length: 6 }, () => partner.raw()));
    const ports = new Set<number>();
    const established = succeeded(await run("cat", ["/proc/net/tcp"])).stdout;
    for (const [, local] of established.matchAll(/^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4}) \S+ 01 /gm)) {
      const port = Number.parseInt(local ?? "", 16);
      if (site.endpoints().nodes.some(({ sftpPort }) => sftpPort === port)) ports.add(port);
    }
    for (const session of sessions) await session.end();
    assert.ok(ports.size >= 2, `sessions on ${ports.size} node`);
  });

  test("two nodes writing one name at once: each reply is true, readers see one whole file or the other", async () => {
    const writers = [await partner.rawOn(0), await partner.rawOn(1)];
    const reader = await partner.rawOn(2);
    const contents = [0, 1].map((writer) =>
      Array.from({ length: 25 }, (_, round) => bytes(20_000 + writer * 5_000 + round, `${writer}-${round}`)),
    );
    const legal = new Set(contents.flat().map(sha256));
    await reader.put("/contended", contents[0]?.[0] ?? Buffer.alloc(0));
    let writing = true;
    let read = 0;
    const watch = async () => {
      while (writing) {
        // Another account's view isn't needed: OPEN READ over an own partial gives the committed file.
        assert.ok(legal.has(sha256(await reader.get("/contended"))), "a reader saw a mixture");
        read++;
      }
    };
    const write = async (session: RawSftp, mine: readonly Buffer[]) => {
      for (const content of mine) await session.put("/contended", content);
    };
    const watching = watch();
    const results = await Promise.allSettled(writers.map((session, i) => write(session, contents[i] ?? [])));
    writing = false;
    await watching;
    for (const result of results) if (result.status === "rejected") throw result.reason;
    assert.ok(read > 0);
    const final = sha256OfFileSync(partner.stored("contended"));
    const lasts = contents.map((mine) => sha256(mine.at(-1) ?? Buffer.alloc(0)));
    assert.ok(lasts.includes(final), "the last acknowledged upload of one of them is the file");
    for (const session of [...writers, reader]) await session.end();
  });

  test("two nodes renaming one file to two names: one wins, the other is told so", async () => {
    const [left, right] = [await partner.rawOn(0), await partner.rawOn(1)];
    for (let round = 0; round < 20; round++) {
      await left.put(`/r${round}`, Buffer.from(`${round}`));
      const results = await Promise.allSettled([
        left.rename(`/r${round}`, `/r${round}-left`),
        right.rename(`/r${round}`, `/r${round}-right`),
      ]);
      const won = results.map((result) => result.status === "fulfilled");
      assert.equal(won.filter(Boolean).length, 1, `round ${round}: ${won}`);
      assert.equal(existsSync(partner.stored(`r${round}-left`)), won[0]);
      assert.equal(existsSync(partner.stored(`r${round}-right`)), won[1]);
    }
    await left.end();
    await right.end();
  });
});
