import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { curl, curlSpeaksSftp, startCurl } from "../support/clients/curl.js";
import { ensureClients, ensureParamiko } from "../support/clients/install.js";
import { lftp, startLftp } from "../support/clients/lftp.js";
import { learnHostKey, remote, sftp, startScp, startSftp } from "../support/clients/openssh.js";
import { paramiko } from "../support/clients/paramiko.js";
import { Partner } from "../support/clients/partner.js";
import { psftp } from "../support/clients/psftp.js";
import { codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { startRclone } from "../support/clients/rclone.js";
import { succeeded, tell } from "../support/clients/run.js";
import { type Site, startSite } from "../support/site.js";
import { TcpProxy } from "../support/tcp-proxy.js";

/** The five findings of clients.md, each with the client that showed it. */

describe("findings", () => {
  let site: Site;
  let partner: Partner;
  let watcher: Partner;
  let raw: RawSftp;
  let other: RawSftp;

  before(async () => {
    ensureClients("sftp", "scp", "lftp", "curl", "psftp", "rclone", "ssh-keygen", "ssh-keyscan");
    ensureParamiko();
    site = await startSite();
    partner = await Partner.add(site, "findings");
    watcher = await Partner.add(site, "watcher", { home: partner.home });
    raw = await partner.raw();
    other = await watcher.raw();
  });
  after(async () => {
    await raw?.end();
    await other?.end();
    await site?.stop();
  });

  const has = (path: string, least: number) =>
    until(`${path} has ${least} bytes`, async () => ((await raw.stat(path)).size ?? 0) >= least);

  /** An upload of which every byte was acknowledged and whose CLOSE never came. */
  async function abandonWhole(path: string, content: Buffer): Promise<void> {
    const session = await partner.raw();
    await session.writeAll(await session.open(path, Open.W | Open.C | Open.T), content);
    await session.drop();
    await until("the partial shows", async () => (await raw.stat(path)).size === content.length - 1);
    assert.equal(await codeOf(other.stat(path)), Status.NO_SUCH_FILE, "it isn't committed");
  }

  test("1: lftp's plain put over an older, shorter file, cut midway, joins no old head to a new tail", async () => {
    const old = writeContent(partner.local("f1"), 1_000_000, "old");
    succeeded(await lftp(partner, ["put f1"]));
    const content = writeContent(partner.local("f1"), 6_000_000, "new");
    const proxy = await TcpProxy.start(`${partner.host}:${partner.port}`);
    try {
      const upload = startLftp(partner, ["put f1"], { port: proxy.port, limit: 2_500_000, deadlineMs: 90_000 });
      // Past the old file's length: with the old file shown, the tail would start there.
      await has("/f1", 2_000_000);
      proxy.cut();
      assert.equal(sha256(await other.get("/f1")), sha256(old), "others still see the old file");
      succeeded(await upload.outcome);
    } finally {
      await proxy.close();
    }
    assert.equal(sha256OfFileSync(partner.stored("f1")), sha256(content));
  });

  test("1: the same, cut before it reached the old file's length", async () => {
    writeContent(partner.local("f1b"), 4_000_000, "old");
    succeeded(await lftp(partner, ["put f1b"]));
    const content = writeContent(partner.local("f1b"), 6_000_000, "new");
    const proxy = await TcpProxy.start(`${partner.host}:${partner.port}`);
    try {
      const upload = startLftp(partner, ["put f1b"], { port: proxy.port, limit: 2_500_000, deadlineMs: 90_000 });
      await until("the upload began", async () => {
        const size = (await raw.stat("/f1b")).size ?? 0;
        return size > 300_000 && size < 4_000_000;
      });
      proxy.cut();
      succeeded(await upload.outcome);
    } finally {
      await proxy.close();
    }
    assert.equal(sha256OfFileSync(partner.stored("f1b")), sha256(content));
  });

  test("2: a partial at its full size is finished by sftp's reput", async () => {
    const content = writeContent(partner.local("f2-sftp"), 500_000);
    await abandonWhole("/f2-sftp", content);
    succeeded(await sftp(partner, ["reput f2-sftp"]));
    assert.ok(readFileSync(partner.stored("f2-sftp")).equals(content));
  });

  test("2: by lftp's put -c", async () => {
    const content = writeContent(partner.local("f2-lftp"), 500_000);
    await abandonWhole("/f2-lftp", content);
    succeeded(await lftp(partner, ["put -c f2-lftp"]));
    assert.ok(readFileSync(partner.stored("f2-lftp")).equals(content));
  });

  test("2: by psftp's reput", async () => {
    const content = writeContent(partner.local("f2-psftp"), 500_000);
    await abandonWhole("/f2-psftp", content);
    succeeded(await psftp(partner, await learnHostKey(partner), ["reput f2-psftp"]));
    assert.ok(readFileSync(partner.stored("f2-psftp")).equals(content));
  });

  test("2: by curl -C -", { skip: curlSpeaksSftp() ? false : "this machine's curl has no SFTP" }, async () => {
    const content = writeContent(partner.local("f2-curl"), 500_000);
    await abandonWhole("/f2-curl", content);
    succeeded(await curl(partner, "/f2-curl", ["-C", "-", "-T", "f2-curl"]));
    assert.ok(readFileSync(partner.stored("f2-curl")).equals(content));
  });

  test("2: an empty partial isn't there, so that clients start afresh", async () => {
    const session = await partner.raw();
    await session.open("/f2-empty", Open.W | Open.C | Open.T);
    await session.drop();
    assert.equal(await codeOf(raw.stat("/f2-empty")), Status.NO_SUCH_FILE);
    const content = writeContent(partner.local("f2-empty"), 10_000);
    succeeded(await lftp(partner, ["put -c f2-empty"]));
    assert.ok(readFileSync(partner.stored("f2-empty")).equals(content));
  });

  test("3: paramiko, which ignores what CLOSE says, finds out by its final STAT that the upload failed", async () => {
    writeContent(partner.local("f3"), 300_000);
    const outcome = await paramiko(
      partner,
      `
f = sftp.open("f3", "wb")
f.set_pipelined(True)
f.write(b"x" * 1000)
f.seek(1 << 62)
f.write(b"beyond any file system")
f.close()
try:
    print("size", sftp.stat("f3").st_size)
except IOError:
    print("size none")
`,
    );
    assert.match(succeeded(outcome).stdout, /size (999|none)/);
    assert.equal(await codeOf(other.stat("/f3")), Status.NO_SUCH_FILE, "what failed is not committed");
  });

  for (const client of ["curl", "paramiko"] as const) {
    test(`3: an upload that ${client} calls done while the store was away is there once it is back`, async (t) => {
      const pid = site.endpoints().etcd?.pid;
      if (typeof pid !== "number") return t.skip("the site's etcd has no pid here");
      const name = `f3-${client}`;
      const content = writeContent(partner.local(name), 200_000);
      process.kill(pid, "SIGSTOP");
      let outcome: Awaited<ReturnType<typeof curl>>;
      try {
        const deadline = { deadlineMs: 60_000 };
        outcome = await (client === "curl"
          ? curl(partner, `/${name}`, ["-T", name], deadline)
          : paramiko(partner, `sftp.put("${name}", "${name}", confirm=False)`, deadline));
        assert.ok(!existsSync(partner.stored(name)), "nothing is committed without the store");
      } finally {
        process.kill(pid, "SIGCONT");
      }
      if (outcome.code === 0) {
        await until(
          `${name} is committed by recovery`,
          async () => (await other.stat(`/${name}`)).size === content.length,
          {
            deadlineMs: 30_000,
          },
        );
        assert.ok(readFileSync(partner.stored(name)).equals(content));
      } else {
        assert.ok(!outcome.timedOut, tell(outcome));
        succeeded(await sftp(partner, [`put ${name}`]));
        assert.ok(readFileSync(partner.stored(name)).equals(content));
      }
      t.diagnostic(`${client} ended with ${outcome.code}`);
    });
  }

  test("4: sftp's ^C sends CLOSE, which can't be told from completion: the file is committed as what it is", async () => {
    const content = writeContent(partner.local("f4"), 6_000_000);
    const upload = startSftp(partner, ["put f4"], { limit: 16_000, buffer: 32_768, requests: 8 });
    await has("/f4", 500_000);
    upload.process.kill("SIGINT");
    await upload.outcome;
    const committed = await until("it is committed", async () => (await other.stat("/f4")).size);
    assert.ok(committed < content.length);
    assert.ok(readFileSync(partner.stored("f4")).equals(content.subarray(0, committed)), "a prefix of what was sent");
  });

  test("4: scp, curl and rclone never send CLOSE on ^C: nothing is committed", async () => {
    const size = 6_000_000;
    for (const name of ["f4-scp", "f4-curl", "f4-rclone"]) writeContent(partner.local(name), size);
    await learnHostKey(partner);
    const uploads = {
      "f4-scp": () =>
        startScp(partner, ["f4-scp", remote(partner, "f4-scp")], { limit: 16_000, settings: ["HostKeyAlias=x"] }),
      ...(curlSpeaksSftp()
        ? { "f4-curl": () => startCurl(partner, "/f4-curl", ["--limit-rate", "2M", "-T", "f4-curl"]) }
        : {}),
      "f4-rclone": () => startRclone(partner, ["copyto", "f4-rclone", "site:f4-rclone"], { limit: "2M" }),
    };
    for (const [name, begin] of Object.entries(uploads)) {
      const upload = begin();
      await has(`/${name}`, 300_000);
      upload.process.kill("SIGINT");
      await upload.outcome;
      assert.equal(await codeOf(other.stat(`/${name}`)), Status.NO_SUCH_FILE, name);
      assert.ok(!existsSync(partner.stored(name)), name);
    }
  });

  test("5: lftp's temporary name, then rename over the old file", async () => {
    writeContent(partner.local("f5"), 300_000, "old");
    succeeded(await lftp(partner, ["put f5"]));
    const content = writeContent(partner.local("f5"), 100_000, "new");
    succeeded(await lftp(partner, ["put f5"], { settings: ["xfer:use-temp-file yes", "xfer:temp-file-name .in.*"] }));
    assert.ok(readFileSync(partner.stored("f5")).equals(content));
    assert.ok(!readdirSync(partner.stored()).some((name) => name.startsWith(".in.")), "no temporary file is left");
  });
});
