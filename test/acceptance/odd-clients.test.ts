import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { Bystander } from "../support/clients/bystander.js";
import { bytes, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { curlSpeaksSftp, startCurl } from "../support/clients/curl.js";
import { ensureClients } from "../support/clients/install.js";
import { changeSite, ExtraNode, memoryGrowth } from "../support/clients/node-process.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { run, succeeded } from "../support/clients/run.js";
import { ensurePackages } from "../support/packages.js";
import { type Site, startSite } from "../support/site.js";

/** Clients and surroundings that are slow, greedy, half gone or cramped. A partner works beside them and notices nothing. */

const MIB = 1024 * 1024;
const SLOW_SECONDS = Number(process.env.LONGSHORE_SLOW_SECONDS ?? 45);

describe("odd clients", () => {
  let site: Site;
  let partner: Partner;
  let bystander: Bystander;

  before(async () => {
    ensureClients("sftp", "curl", "ssh-keygen");
    ensurePackages({ prlimit: "util-linux" });
    site = await startSite();
    partner = await Partner.add(site, "odd");
    bystander = await Bystander.start(await Partner.add(site, "calm"), 0);
  });
  after(async () => {
    try {
      await bystander?.stop();
    } finally {
      await site?.stop();
    }
  });

  const put = Open.W | Open.C | Open.T;

  test("a client that sends and fetches 1 KiB a second isn't ended as idle, and its file comes out whole", async () => {
    await changeSite(site, (settings) => {
      settings.sftp = { ...(settings.sftp as object), idleTimeoutMs: 10_000, keepaliveMs: 2_000 };
    });
    const session = await partner.rawOn(0);
    await session.put("/slow-source", bytes(64 * 1024, "slow"));
    const content = bytes(SLOW_SECONDS * 1024, "slow-up");
    const [up, down] = [await session.open("/slow", put), await session.open("/slow-source", Open.R)];
    const begun = performance.now();
    for (let second = 0; second < SLOW_SECONDS; second++) {
      const at = second * 1024;
      await session.write(up, at, content.subarray(at, at + 1024));
      assert.equal((await session.read(down, at % (60 * 1024), 1024)).length, 1024);
      await until("a second is over", () => performance.now() - begun > second * 1_000);
    }
    await session.close(up);
    assert.ok((await session.get("/slow")).equals(content));
    await session.end();
    await changeSite(site, (settings) => {
      settings.sftp = { ...(settings.sftp as object), idleTimeoutMs: 900_000, keepaliveMs: 30_000 };
    });
  });

  test("a client that half-closes behind its CLOSE has its file committed", async () => {
    for (let round = 0; round < 5; round++) {
      const session = await partner.rawOn(round % 3);
      const content = bytes(150_000, `half-closed-${round}`);
      const handle = await session.open(`/half-closed-${round}`, put);
      await session.writeAll(handle, content);
      session.close(handle).catch(() => undefined);
      session.socket.end();
      const reader = await partner.rawOn((round + 1) % 3);
      await until("it is committed", async () => (await reader.stat(`/half-closed-${round}`)).size === content.length);
      assert.ok((await reader.get(`/half-closed-${round}`)).equals(content));
      await reader.end();
    }
  });

  test("what one client left is finished by another, on another node", {
    skip: curlSpeaksSftp() ? false : "this machine's curl has no SFTP",
  }, async () => {
    writeContent(partner.local("handed-on"), 5 * MIB);
    const session = await partner.rawOn(2);
    const upload = startCurl(partner, "/handed-on", ["--limit-rate", "2M", "-T", "handed-on"]);
    await until("it has got somewhere", async () => ((await session.stat("/handed-on")).size ?? 0) >= 500_000);
    upload.process.kill("SIGKILL");
    await upload.outcome;
    succeeded(await sftp(partner, ["put -a handed-on"]));
    assert.equal(sha256OfFileSync(partner.stored("handed-on")), sha256OfFileSync(partner.local("handed-on")));
    await session.end();
  });

  test("a directory renamed under an upload: the upload is told, nothing appears anywhere, and its bytes aren't lost", async () => {
    const [one, two] = [await partner.rawOn(0), await partner.rawOn(1)];
    const content = bytes(400_000, "under-rename");
    await one.mkdir("/before");
    const handle = await one.open("/before/file", put);
    await one.writeAll(handle, content.subarray(0, 300_000));
    await two.rename("/before", "/after");
    const wrote = await codeOf(one.write(handle, 300_000, content.subarray(300_000)));
    const closed = await codeOf(one.close(handle));
    assert.notEqual(closed, Status.OK, "its directory isn't there any more");
    assert.deepEqual(await two.list("/after"), []);
    assert.notEqual(await codeOf(two.stat("/after/file")), Status.OK);
    await two.mkdir("/before");
    const { size = 0 } = await two.stat("/before/file");
    assert.ok(size >= (wrote === Status.OK ? content.length : 300_000) - 1, `${size} bytes are left`);
    await two.put("/before/file", content.subarray(size), Open.W | Open.C, size);
    assert.ok((await two.get("/before/file")).equals(content));
    for (const session of [one, two]) await session.end();
  });

  test("new keys after every 16 KiB: the transfer is right, and nobody else notices", async () => {
    await bystander.undisturbed(async () => {
      writeContent(partner.local("rekeyed"), 3 * MIB);
      const settings = ["RekeyLimit=16K"];
      succeeded(await sftp(partner, ["put rekeyed", "get rekeyed rekeyed-back"], { settings, deadlineMs: 120_000 }));
      assert.equal(sha256OfFileSync(partner.local("rekeyed")), sha256OfFileSync(partner.local("rekeyed-back")));
    });
  });

  test("a client that wants compression gets none and works", async () => {
    writeContent(partner.local("compressed"), MIB);
    const settings = ["Compression=yes"];
    succeeded(await sftp(partner, ["put compressed", "get compressed compressed-back"], { settings }));
    assert.equal(sha256OfFileSync(partner.local("compressed")), sha256OfFileSync(partner.local("compressed-back")));
  });

  test("60,000 WRITEs and READs of one byte: memory stays bounded, and nobody else notices", async () => {
    const content = bytes(30_000, "tiny");
    await bystander.undisturbed(async () => {
      const session = await partner.rawOn(0, { replyMs: 120_000 });
      const grown = await memoryGrowth(site.pid(0), async () => {
        const handle = await session.open("/tiny", put);
        const writes = Array.from(content, (_, at) => session.write(handle, at, content.subarray(at, at + 1)));
        await Promise.all(writes);
        await session.close(handle);
        const reader = await session.open("/tiny", Open.R);
        const reads = Array.from(content, (_, at) => session.read(reader, at, 1));
        assert.ok(Buffer.concat(await Promise.all(reads)).equals(content));
        await session.close(reader);
      });
      assert.ok(grown < 200 * MIB, `${Math.round(grown / MIB)} MiB more`);
      await session.end();
    });
  });

  test("a node short of file descriptors refuses what it can't take, goes on with what it has, and is well afterwards", async () => {
    const node = await ExtraNode.start(site);
    try {
      const working = await partner.rawAt(node.sftpPort);
      const open = readdirSync(`/proc/${node.process.pid}/fd`).length;
      const files = (soft: number | string) => run("prlimit", ["--pid", `${node.process.pid}`, `--nofile=${soft}:`]);
      const limits = readFileSync(`/proc/${node.process.pid}/limits`, "utf8");
      const before = /^Max open files +(\d+)/m.exec(limits)?.[1] ?? "1024";
      succeeded(await files(open + 12));
      const others: RawSftp[] = [];
      const handles: Buffer[] = [];
      for (let i = 0; i < 20; i++) {
        const session = await partner.rawAt(node.sftpPort, { replyMs: 5_000 }).catch(() => undefined);
        if (session !== undefined) others.push(session);
      }
      let refused = 20 - others.length;
      for (let i = 0; i < 30; i++) {
        const handle = await working.open(`/cramped-${i}`, put).catch(() => undefined);
        if (handle === undefined) refused++;
        else handles.push(handle);
      }
      assert.ok(refused > 0, "it was cramped");
      for (const handle of handles) await codeOf(working.close(handle));
      for (const session of others) await session.end();
      assert.ok(node.process.alive, node.process.output);
      succeeded(await files(before));
      await until(
        "it takes partners and uploads again",
        async () => {
          const fresh = await partner.rawAt(node.sftpPort, { replyMs: 10_000 });
          await fresh.put("/roomy", bytes(100_000, "roomy"));
          const right = (await fresh.get("/roomy")).equals(bytes(100_000, "roomy"));
          await fresh.end();
          return right;
        },
        { deadlineMs: 30_000 },
      );
      await until("it is ready", () => node.isReady(), { deadlineMs: 30_000 });
      await working.put("/the-same-session", bytes(1_000));
      await working.end();
    } finally {
      await node.kill();
    }
  });

  test("two writers of one name, the first one's node killed between etcd's yes and the rename: the later one is the file", async () => {
    const [first, second] = [bytes(200_000, "first"), bytes(120_000, "second")];
    const node = await ExtraNode.start(site, { env: { LONGSHORE_FAILPOINT: "commit-applied" } });
    try {
      const [dying, living] = [await partner.rawAt(node.sftpPort), await partner.rawOn(1)];
      const [a, b] = [await dying.open("/contested", put), await living.open("/contested", put)];
      await dying.writeAll(a, first);
      await living.writeAll(b, second);
      const lost = codeOf(dying.close(a)).catch(() => -1);
      assert.equal(await node.process.exited, "SIGKILL");
      await lost;
      await living.close(b);
      const reader = await partner.rawOn(2);
      assert.ok((await reader.get("/contested")).equals(second), "what was acknowledged last is there");
      await until("and stays there", async () => (await node.process.closed) === "SIGKILL");
      await reader.put("/contested-after", first);
      assert.ok((await reader.get("/contested")).equals(second));
      for (const session of [dying, living, reader]) await session.end();
    } finally {
      await node.kill();
    }
  });
});
