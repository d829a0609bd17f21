import assert from "node:assert/strict";
import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { AuditRecord } from "#audit/contract.js";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { ExtraNode } from "../support/clients/node-process.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, Open, type RawSftp, SftpStatus, Status } from "../support/clients/raw-sftp.js";
import { within } from "../support/clients/run.js";
import { nothingPending } from "../support/clients/store-residue.js";
import { longshore, type Site, startSite } from "../support/site.js";
import { keepAwake } from "./fixture.js";

keepAwake();

const QUOTA = 1_000_000;
const TARGET = "pool/in";

interface Usage {
  readonly usedBytes: number | null;
  readonly countedAt: string | null;
}

/** Two nodes, real etcd: a folder's quota holds for both together, and its counter outlives their deaths. */
describe("the quota of a folder", () => {
  let site: Site;
  let partner: Partner;
  let place: string;

  before(async () => {
    site = await startSite({ nodes: 2 });
    partner = await Partner.add(site, "quota");
    const account = (await site.admin("/api/v1/accounts/quota")) as Record<string, unknown>;
    const folders = [{ path: "/in", target: TARGET, quotaBytes: QUOTA }];
    const body = { publicKeys: account.publicKeys, home: account.home, folders };
    const { revision } = (await site.admin("/api/v1/accounts/quota", { method: "PUT", body })) as { revision: number };
    await site.converged(revision);
    place = join(site.endpoints().storage.path, TARGET);
    for (const node of [0, 1])
      await until("the folder is counted", async () => (await usage(node))?.countedAt ?? false);
  });
  after(() => site?.stop());

  async function usage(node: number): Promise<Usage | undefined> {
    const { folders } = (await site.admin("/api/v1/usage", { node })) as { folders: (Usage & { target: string })[] };
    return folders.find(({ target }) => target === TARGET);
  }
  async function used(expected: number): Promise<void> {
    for (const node of [0, 1]) {
      await until(`node ${node} knows ${expected}`, async () => (await usage(node))?.usedBytes === expected);
    }
  }
  const onDisk = () => readdirSync(place).reduce((sum, name) => sum + statSync(join(place, name)).size, 0);

  async function refused(work: Promise<unknown>): Promise<void> {
    await assert.rejects(work, (error) => {
      assert.ok(error instanceof SftpStatus, String(error));
      assert.equal(error.code, Status.FAILURE);
      assert.match(error.text, /quota exceeded: \/in takes 1000000 bytes/);
      return true;
    });
  }

  test("two uploads that only together pass it, on two nodes: one CLOSE fails and says why; its partial goes in later", async () => {
    const sessions = [await partner.rawOn(0), await partner.rawOn(1)] as const;
    const content = bytes(700_000, "quota");
    const flags = Open.W | Open.C | Open.T;
    const handles = await Promise.all(sessions.map((session, i) => session.open(`/in/${i}`, flags)));
    for (const [i, session] of sessions.entries()) await writeAll(session, handles[i] as Buffer, content);
    const closes = sessions.map((session, i) => session.close(handles[i] as Buffer));
    const ends = await Promise.allSettled(closes);
    const loser = ends.findIndex(({ status }) => status === "rejected");
    assert.equal(ends.filter(({ status }) => status === "rejected").length, 1);
    await refused(closes[loser] as Promise<void>);
    await used(700_000);
    const again = sessions[loser] as RawSftp;
    assert.equal((await again.stat(`/in/${loser}`)).size, 699_999, "the partial is kept");

    // WRITE itself, once the node knows what is left
    await refused(again.put("/in/third", bytes(400_000, "third")));
    const shown = await sftp(partner, ["df /in"]);
    const [, kib, usedKib] = /\n\s*(\d+)\s+(\d+)\s+/.exec(shown.stdout) ?? [];
    assert.deepEqual([kib, usedKib], ["977", "685"], shown.stdout);

    await again.remove(`/in/${1 - loser}`);
    await used(0);
    const resumed = await again.open(`/in/${loser}`, Open.W);
    await again.write(resumed, 699_999, content.subarray(699_999));
    await again.close(resumed);
    await used(700_000);
    for (const session of sessions) await session.end();
  });

  test("the refusal is on the record, in the metrics, and in the command's list", async () => {
    await until("the audit has it", async () => {
      const answer = (await site.admin("/api/v1/audit?kind=transfer&account=quota")) as { records: AuditRecord[] };
      return answer.records.some(
        ({ outcome, path, details }) =>
          (outcome === "failed" || outcome === "partial") && details?.code === "quota-exceeded" && path === "/in/third",
      );
    });
    let refusals = 0;
    for (const node of [0, 1]) {
      const page = await (await site.adminFetch("/metrics", { node })).text();
      assert.match(page, /longshore_folder_used_bytes\{folder="pool\/in"\} 700000\n/);
      assert.match(page, /longshore_folder_limit_bytes\{folder="pool\/in"\} 1000000\n/);
      refusals += Number(/longshore_quota_refusals_total (\d+)/.exec(page)?.[1]);
    }
    assert.equal(refusals, 2);
    const { stdout } = await longshore(["folder", "list", "-o", "json", "--dir", site.directory]);
    const [folder] = JSON.parse(stdout) as { usedBytes: number; quotaBytes: number }[];
    assert.deepEqual([folder?.usedBytes, folder?.quotaBytes], [700_000, QUOTA]);
  });

  test("files that went past the site are noticed when an upload is refused, and it goes in when it comes again", async () => {
    for (const name of readdirSync(place)) rmSync(join(place, name));
    writeFileSync(join(place, "foreign"), "1234567890");
    const session = await partner.rawOn(0);
    await refused(session.put("/in/next", bytes(600_000, "next")));
    await used(10);
    await session.put("/in/next", bytes(600_000, "next"));
    await used(600_010);
    await session.end();
  });

  for (const failpoint of ["commit-sent", "commit-applied", "finish-sent"] as const) {
    test(`a node that dies at ${failpoint} leaves the counter at what lies there`, { timeout: 90_000 }, async () => {
      const counted = (await usage(0))?.countedAt;
      const node = await ExtraNode.start(site, { env: { LONGSHORE_FAILPOINT: failpoint } });
      try {
        const session = await partner.rawAt(node.sftpPort);
        const died = (error: unknown) => assert.ok(error instanceof ConnectionLost, String(error));
        await session.put("/in/killed", bytes(50_000, failpoint)).catch(died);
        await within(15_000, `the node to die at ${failpoint}`, node.process.exited);
      } finally {
        await node.kill();
      }
      await nothingPending(site);
      await used(onDisk());
      assert.equal((await usage(0))?.countedAt, counted, "by its own reckoning, not by a recount");
    });
  }
});

async function writeAll(session: RawSftp, handle: Buffer, content: Buffer): Promise<void> {
  for (let at = 0; at < content.length; at += 32_000) {
    await session.write(handle, at, content.subarray(at, at + 32_000));
  }
}
