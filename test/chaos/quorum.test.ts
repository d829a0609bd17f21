import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { readiness } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { nothingLeft, nothingPending } from "../support/clients/store-residue.js";
import { type Site, startSite } from "../support/site.js";

/** P11: a node without the quorum does no harm and comes back by itself. etcd is stopped and killed. */

const MIB = 1024 * 1024;
const CONTENT = bytes(2 * MIB, "quorum");

describe("the store away", () => {
  let site: Site;
  let partner: Partner;
  let neighbour: Partner;
  let files = 0;

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "quorum");
    neighbour = await Partner.add(site, "neighbour", { home: partner.home });
  });
  after(async () => {
    await site?.stop();
  });

  function etcdPid(): number {
    const pid = site.endpoints().etcd?.pid;
    if (typeof pid !== "number") throw new Error("etcd isn't running");
    return pid;
  }

  async function everyNode(state: string): Promise<void> {
    for (const { name, adminUrl } of site.endpoints().nodes) {
      await until(`${name} is ${state}`, async () => (await readiness(adminUrl)).state === state, {
        deadlineMs: 30_000,
      });
    }
  }

  async function stopped<T>(action: () => Promise<T>): Promise<T> {
    const pid = etcdPid();
    process.kill(pid, "SIGSTOP");
    try {
      return await action();
    } finally {
      process.kill(pid, "SIGCONT");
    }
  }

  const status = async (operation: Promise<unknown>) =>
    codeOf(operation).catch((error: unknown) => {
      if (error instanceof ConnectionLost) return Status.CONNECTION_LOST;
      throw error;
    });

  /** Committed by recovery, or a partial with all that was acknowledged, which a new session resumes. */
  async function finishes(path: string, acknowledged: number): Promise<void> {
    const reader = await neighbour.rawOn(2);
    const session = await partner.rawOn(1);
    await until(
      `${path} is finished`,
      async () => {
        if ((await codeOf(reader.stat(path))) !== Status.OK) {
          const { size = 0 } = await session.stat(path);
          assert.ok(size >= acknowledged - 1, `${path}: the partial has ${size} of ${acknowledged} bytes`);
          if (size === CONTENT.length) return false;
          await session.put(path, CONTENT.subarray(size), Open.W | Open.C, size);
        }
        return true;
      },
      { deadlineMs: 30_000 },
    );
    assert.ok((await reader.get(path)).equals(CONTENT), `${path} holds other bytes`);
    await reader.end();
    await session.end();
  }

  test("etcd stopped: nodes say cut-off, an open upload fails clearly, its partial is kept, and all rejoin by themselves", async () => {
    await everyNode("ready");
    const path = `/file-${files++}`;
    const session = await partner.rawOn(0);
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    await session.writeAll(handle, CONTENT.subarray(0, MIB));
    let acknowledged = MIB;
    const closed = await stopped(async () => {
      await everyNode("cut-off");
      for (const { adminUrl } of site.endpoints().nodes) {
        const { ok, reasons } = await readiness(adminUrl);
        assert.ok(!ok && reasons.length > 0, "it says why");
      }
      const late = await status(session.write(handle, MIB, CONTENT.subarray(MIB, MIB + 32_768)));
      assert.notEqual(late, Status.OK, "a node that can't commit acknowledges no WRITE (finding 3)");
      if (late === Status.OK) acknowledged += 32_768;
      const close = await status(session.close(handle));
      const reader = await neighbour.rawOn(1).catch(() => undefined); // logins may be refused meanwhile
      if (reader) assert.notEqual(await codeOf(reader.stat(path)), Status.OK, "nothing was committed");
      await reader?.end();
      return close;
    });
    assert.notEqual(closed, Status.OK);
    await session.end();
    await everyNode("ready");
    await finishes(path, acknowledged);
    await nothingPending(site);
  });

  test("etcd stopped between the last WRITE and CLOSE: an error in time for every client, and recovery commits it", async () => {
    const path = `/file-${files++}`;
    const session = await partner.rawOn(0);
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    await session.writeAll(handle, CONTENT);
    const begun = performance.now();
    const closed = await stopped(() => status(session.close(handle)));
    assert.notEqual(closed, Status.OK);
    // WinSCP gives up at 15 s (clients.md).
    assert.ok(performance.now() - begun < 15_000, `CLOSE took ${Math.round(performance.now() - begun)} ms`);
    await session.end();
    const reader = await until("a login", () => neighbour.rawOn(1), { deadlineMs: 30_000 });
    await until("recovery commits it", async () => (await reader.stat(path)).size === CONTENT.length, {
      deadlineMs: 30_000,
    });
    assert.ok((await reader.get(path)).equals(CONTENT));
    await reader.end();
    await everyNode("ready");
    await nothingPending(site);
  });

  test("an upload that was owed doesn't come back over a newer one", async () => {
    const path = `/file-${files++}`;
    const session = await partner.rawOn(0);
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    await session.writeAll(handle, bytes(100_000, "owed"));
    assert.notEqual(await stopped(() => status(session.close(handle))), Status.OK);
    await session.end();
    const again = await until("a login", () => partner.rawOn(1), { deadlineMs: 30_000 });
    await until("the client sends it anew", () => again.put(path, CONTENT).then(() => true), { deadlineMs: 30_000 });
    await everyNode("ready");
    await nothingPending(site);
    assert.ok((await again.get(path)).equals(CONTENT), "the newer upload is the file");
    await again.end();
  });

  test("etcd killed under a stream of uploads, three times: each reply is true", { timeout: 180_000 }, async () => {
    const acknowledged: string[] = [];
    let uploading = true;
    let refused = 0;
    const stream = async (node: number) => {
      for (let i = 0; uploading; i++) {
        let session: RawSftp | undefined;
        try {
          session = await partner.rawOn(node, { replyMs: 20_000 });
          for (; uploading; i++) {
            const path = `/stream-${node}-${i}`;
            await session.put(path, CONTENT.subarray(0, 40_000));
            acknowledged.push(path);
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        } catch {
          refused++;
          await new Promise((resolve) => setTimeout(resolve, 50));
        } finally {
          await session?.end();
        }
      }
    };
    const streams = [stream(0), stream(1)];
    for (let kill = 0; kill < 3; kill++) {
      const before = acknowledged.length;
      const pid = etcdPid();
      process.kill(pid, "SIGKILL");
      await until("etcd runs again", () => {
        const now = site.endpoints().etcd?.pid;
        return typeof now === "number" && now !== pid;
      });
      await until("uploads go on", () => acknowledged.length > before + 5, { deadlineMs: 45_000 });
    }
    uploading = false;
    await Promise.all(streams);
    const reader = await neighbour.rawOn(2);
    for (const path of acknowledged) assert.ok((await reader.get(path)).equals(CONTENT.subarray(0, 40_000)), path);
    await reader.end();
    await everyNode("ready");
    assert.ok(refused < acknowledged.length, `${refused} refused, ${acknowledged.length} acknowledged`);
  });

  test("at the end nothing is left on the storage either: no staging directory, pointer or note", async () => {
    await nothingLeft(site);
  });
});
