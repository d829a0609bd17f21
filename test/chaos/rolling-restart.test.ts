import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { balancerStates } from "../support/active.js";
import { bytes, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { Ledger } from "../support/clients/ledger.js";
import { lftp } from "../support/clients/lftp.js";
import { type OpensshOptions, sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { type Outcome, report } from "../support/clients/run.js";
import { SteadyClients } from "../support/clients/steady-clients.js";
import { type Site, startSite } from "../support/site.js";

/**
 * Every node is restarted, one after the other, while partners upload and download all the time: no transfer and no login
 * fails, and no client tries anything twice. Once as an operator does it who drains first (transfers may then last as long
 * as they like), once by SIGTERM alone (transfers may last `drainMs`).
 */

/** Kbit/s and bytes of the slow transfers: about 25 s each, past the site's drainMs of 10 s. */
const SLOW = { limit: 1_600, buffer: 16_384, requests: 4 } satisfies OpensshOptions;
const SLOW_BYTES = 5_000_000;
const SMALL_BYTES = 400_000;
/** The longest wait for a drained node's sessions to end by themselves. */
const EMPTY_MS = 60_000;

interface NodeStatus {
  readonly sessions: number;
  readonly transfers: number;
}

describe("a rolling restart under load", () => {
  let site: Site;
  let partner: Partner;
  let ledger: Ledger;
  let downloaded: Buffer;
  let clients: SteadyClients;

  before(async () => {
    ensureClients("sftp", "lftp", "ssh-keygen");
    site = await startSite();
    partner = await Partner.add(site, "rolling");
    ledger = new Ledger();
    downloaded = bytes(SLOW_BYTES, "downloaded");
    const session = await partner.raw();
    await session.put("/download", downloaded);
    await session.put("/small", downloaded.subarray(0, SMALL_BYTES));
    await session.end();
  });
  beforeEach(() => {
    clients = new SteadyClients();
  });
  afterEach(() => clients.stop());
  after(async () => {
    await site?.stop();
  });

  function uploads(name: string, size: number, options: OpensshOptions = {}): void {
    const content = writeContent(partner.local(name), size);
    clients.add(name, async (turn) => {
      const outcome = await sftp(partner, [`put ${name} ${name}-${turn}`], options);
      if (outcome.code === 0) ledger.acknowledged(`/${name}-${turn}`, content);
      return outcome;
    });
  }

  function downloads(name: string, path: string, options: OpensshOptions = {}): void {
    const size = path === "/download" ? downloaded.length : SMALL_BYTES;
    clients.addDownload(partner, name, { path, content: downloaded.subarray(0, size) }, options);
  }

  /** One session that moves many files, with the gaps between them that such clients have. */
  function manyInOneSession(name: string): void {
    const directory = partner.directory("many");
    for (let i = 0; i < 40; i++) writeContent(`${directory}/${i}`, 5_000 + i);
    clients.add(name, (turn): Promise<Outcome> => {
      return lftp(partner, [`mkdir ${name}${turn}`, `mput -O ${name}${turn} many/*`]);
    });
  }

  const load = async (index: number): Promise<NodeStatus> => {
    const { node } = (await site.admin("/api/v1/status", { node: index })) as { node: { load: NodeStatus } };
    return node.load;
  };

  async function balanced(index: number): Promise<void> {
    const { name } = site.node(index);
    await until(
      `the balancer uses ${name} again`,
      async () => {
        const lines = (await site.haproxy("show servers state sftp")).split("\n").filter((line) => line.includes(name));
        return lines.length > 0 && lines.every((line) => line.split(" ")[5] === "2" && line.split(" ")[7] !== "0");
      },
      { deadlineMs: 30_000 },
    );
  }

  async function restart(index: number): Promise<void> {
    const before = site.killNode(index, "SIGTERM");
    await site.nodeReady(index, before, 60_000);
  }

  async function judged(what: string): Promise<void> {
    await clients.stop();
    const lines = clients.runs().map(({ name, runs, longestMs }) => {
      return `  ${name.padEnd(14)}${String(runs).padStart(5)} runs, the longest ${(longestMs / 1_000).toFixed(1)} s`;
    });
    report(`${what}: ${clients.failures.length} failed\n${lines.join("\n")}`);
    assert.deepEqual(clients.failures, []);
    const session = await partner.raw();
    await ledger.checkNew(session);
    await session.end();
    for (const { name, runs } of clients.runs()) assert.ok(runs > 0, `${name} did nothing`);
  }

  test("each node drained, emptied, stopped by SIGTERM, started, taken back: nothing fails, not even what lasts 25 s", {
    timeout: 400_000,
  }, async () => {
    uploads("up-1", SMALL_BYTES);
    uploads("up-2", SMALL_BYTES);
    downloads("down-1", "/small");
    uploads("slow-up", SLOW_BYTES, SLOW);
    downloads("slow-down", "/download", SLOW);
    manyInOneSession("mput-1-");
    await until("all are at work", () => clients.count >= 4, { deadlineMs: 30_000 });
    for (const [index, { id, name }] of site.endpoints().nodes.entries()) {
      await site.admin(`/api/v1/nodes/${id}/drain`, { method: "POST" });
      // Not an instant without sessions before the balancer has heard: the next one would be cut off by the stop.
      await until(`${name} gets no new sessions`, async () =>
        (await balancerStates(site)).get(name)?.startsWith("DRAIN"),
      );
      await until(
        `${name} is empty`,
        async () => (await site.sessionsByNode()).get(name) === 0 && (await load(index)).sessions === 0,
        { deadlineMs: EMPTY_MS },
      );
      const pid = site.killNode(index, "SIGTERM");
      await until(`${name} runs again`, () => site.node(index).pid !== null && site.node(index).pid !== pid, {
        deadlineMs: 60_000,
      });
      await until(
        `${name} goes on draining`,
        async () => {
          const response = await fetch(`${site.node(index).adminUrl}/health/ready`);
          return ((await response.json()) as { state: string }).state === "draining";
        },
        { deadlineMs: 30_000 },
      );
      await site.admin(`/api/v1/nodes/${id}/undrain`, { method: "POST" });
      await site.nodeReady(index);
      await balanced(index);
    }
    await judged("drained, then restarted");
  });

  test("each node restarted by SIGTERM alone, twice round: nothing fails that takes less than drainMs", {
    timeout: 400_000,
  }, async () => {
    for (const name of ["up-3", "up-4", "up-5"]) uploads(name, SMALL_BYTES);
    for (const name of ["down-3", "down-4"]) downloads(name, "/small");
    uploads("some-seconds", 1_000_000, SLOW);
    manyInOneSession("mput-2-");
    clients.add("password", async () => {
      const session = await partner.rawByPassword();
      await session.stat("/small");
      await session.end();
      return undefined;
    });
    for (let round = 0; round < 2; round++) {
      for (const index of site.endpoints().nodes.keys()) {
        await restart(index);
        await balanced(index);
      }
    }
    await judged("restarted by SIGTERM");
  });
});
