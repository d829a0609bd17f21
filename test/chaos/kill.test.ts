import assert from "node:assert/strict";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes, seeded, sha256, sha256OfFileSync } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { startSftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, Open, type RawSftp, SftpStatus, Status } from "../support/clients/raw-sftp.js";
import { tell } from "../support/clients/run.js";
import { nothingLeft } from "../support/clients/store-residue.js";
import { Watcher } from "../support/clients/watcher.js";
import { type Site, startSite } from "../support/site.js";

/**
 * P1, P2, P3: the serving node is killed with -9 at seeded random moments of uploads. A ledger holds what each client was
 * told; a watcher of another account looks on all the time and may only ever see whole files.
 */

const ROUNDS = Number(process.env.LONGSHORE_CHAOS_ROUNDS ?? 30);
const SEED = Number(process.env.LONGSHORE_SEED ?? Date.now() % 1_000_000);
const MIB = 1024 * 1024;

describe(`kill -9 of the serving node, seed ${SEED}`, () => {
  const random = seeded(SEED);
  /** Acknowledged uploads: their paths and what must be there for ever. */
  const ledger = new Map<string, string>();
  let site: Site;
  let partner: Partner;
  let watcher: Watcher;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await startSite();
    partner = await Partner.add(site, "chaos");
    watcher = Watcher.overNodes(site, await Partner.add(site, "watcher", { home: partner.home }));
  });
  after(async () => {
    await watcher?.stop();
    await site?.stop();
  });

  /** Kills the node that has the partner's session, or any if none has; resolves with how to wait for its return. */
  async function killServing(): Promise<() => Promise<void>> {
    const index = await site.servingNode().catch(() => Math.floor(random() * site.endpoints().nodes.length));
    const pid = site.killNode(index);
    return () => site.nodeReady(index, pid, 60_000);
  }

  async function session(): Promise<RawSftp> {
    return until("a login through the balancer", () => partner.raw(), { deadlineMs: 30_000 });
  }

  /** What is really there, for a client whose upload ended in an unknown outcome. */
  const isWhole = (path: string, sum: string) => {
    try {
      return sha256OfFileSync(partner.stored(path)) === sum;
    } catch {
      return false;
    }
  };

  async function opensshRound(round: number): Promise<void> {
    const directory = `/r${round}`;
    const local = partner.directory(`r${round}`);
    const log = partner.local(`ledger-${round}`);
    writeFileSync(log, "");
    const old = bytes(1_200_000, `old-${round}`);
    const files = new Map([
      ["small", bytes(1 + Math.floor(random() * 200_000), `small-${round}-${SEED}`)],
      ["steady", bytes(900_000, `steady-${round}-${SEED}`)],
      ["large", bytes(2_000_000 + Math.floor(random() * MIB), `large-${round}-${SEED}`)],
    ]);
    const maker = await session();
    await maker.mkdir(directory);
    await maker.put(`${directory}/steady`, old);
    await maker.end();
    for (const [name, content] of files) {
      writeFileSync(`${local}/${name}`, content);
      watcher.allow(`${directory}/${name}`, content, ...(name === "steady" ? [old] : []));
    }
    // In batch mode a command runs only if all before it succeeded: `!echo` writes the ledger.
    const told = () => readFileSync(log, "utf8").split("\n");
    const command = (verb: string, name: string) => [
      `${verb} r${round}/${name} ${directory}/${name}`,
      `!echo ${name} >> ledger-${round}`,
    ];
    const upload = startSftp(
      partner,
      [...files.keys()].flatMap((name) => command("put", name)),
      {
        limit: 40_000,
        deadlineMs: 60_000,
      },
    );
    const delay = random() * 1_300;
    await Promise.race([new Promise((resolve) => setTimeout(resolve, delay)), upload.outcome]);
    const back = await killServing();
    const first = await upload.outcome;
    assert.ok(!first.timedOut, tell(first));
    for (let attempt = 0; ; attempt++) {
      for (const [name, content] of files) {
        // Equal bytes without an acknowledgement: the commit was decided, the reply lost. A client sees the full size.
        if (!told().includes(name) && isWhole(`${directory}/${name}`, sha256(content)))
          appendFileSync(log, `${name}\n`);
      }
      const missing = [...files].filter(([name]) => !told().includes(name));
      if (missing.length === 0) break;
      assert.ok(attempt < 30, `not done after ${attempt} tries: ${missing.map(([name]) => name)}`);
      const look = await session();
      const commands: string[] = [];
      for (const [name, content] of missing) {
        const size = await look.stat(`${directory}/${name}`).then(
          (attributes) => attributes.size ?? 0,
          () => undefined,
        );
        // A user who sees part of a file resumes; one who sees none, or the old one, sends it again.
        const partial = size !== undefined && size < content.length && name !== "steady";
        commands.push(...command(partial ? "reput" : "put", name));
      }
      await look.end();
      await startSftp(partner, commands, { deadlineMs: 60_000 }).outcome;
    }
    for (const [name, content] of files) {
      ledger.set(`${directory}/${name}`, sha256(content));
      assert.ok(isWhole(`${directory}/${name}`, sha256(content)), `${directory}/${name} differs from what was sent`);
    }
    await back();
  }

  async function rawRound(round: number): Promise<void> {
    const path = `/raw-${round}`;
    const content = bytes(6 * MIB + Math.floor(random() * MIB), `raw-${round}-${SEED}`);
    const overwrites = random() < 0.5;
    const old = bytes(3 * MIB, `raw-old-${round}`);
    watcher.allow(path, content, ...(overwrites ? [old] : []));
    const uploader = await session();
    if (overwrites) await uploader.put(path, old);
    const handle = await uploader.open(path, Open.W | Open.C | Open.T);
    const piece = 32_768;
    const killAt = Math.floor(random() * 1.1 * content.length);
    const acked = new Set<number>();
    let back: Promise<() => Promise<void>> | undefined;
    const writes: Promise<unknown>[] = [];
    for (let at = 0; at < content.length; at += piece) {
      const writing = uploader.write(handle, at, content.subarray(at, at + piece)).then(
        () => acked.add(at),
        () => undefined,
      );
      writes.push(writing);
      if (writes.length % 16 === 0) await writing;
      if (at >= killAt) back ??= killServing();
    }
    const closing = uploader.close(handle).then(
      () => "acknowledged",
      (error: unknown) => (error instanceof ConnectionLost ? "unknown" : "refused"),
    );
    back ??= killServing();
    await Promise.all(writes);
    const reply = await closing;
    const waitForIt = await back;
    let acknowledged = 0;
    while (acked.has(acknowledged)) acknowledged = Math.min(acknowledged + piece, content.length);

    if (reply !== "acknowledged") {
      await until(
        `${path} is sent whole`,
        async () => {
          const next = await session();
          try {
            if (isWhole(path, sha256(content))) return true;
            const size = await next.stat(path).then(
              (attributes) => attributes.size ?? 0,
              (error: unknown) => {
                if (error instanceof SftpStatus && error.code === Status.NO_SUCH_FILE) return -1;
                throw error;
              },
            );
            // Recovery may have committed it between the two looks; then the size is the whole one.
            const committed = size === content.length;
            if (!committed) lost.push(...(size >= acknowledged - 1 ? [] : [`${path}: ${size} of ${acknowledged}`]));
            const again = await next.open(path, Open.W | Open.C);
            const from = Math.max(0, size);
            await next.writeAll(again, content.subarray(from), from);
            await next.close(again);
            return true;
          } finally {
            await next.end();
          }
        },
        { deadlineMs: 60_000 },
      );
    }
    ledger.set(path, sha256(content));
    assert.ok(isWhole(path, sha256(content)), `${path} differs from what was sent (CLOSE: ${reply})`);
    await waitForIt();
  }
  /** Partials that held less than their client had been told (P3). */
  const lost: string[] = [];

  for (let round = 0; round < ROUNDS; round++) {
    const kind = round % 2 === 0 ? "OpenSSH sftp with reput" : "a pipelining client that counts its replies";
    test(`round ${round}: ${kind}`, { timeout: 180_000 }, async () => {
      await (round % 2 === 0 ? opensshRound(round) : rawRound(round));
      watcher.sawOnlyWholeFiles();
    });
  }

  test("P1: every acknowledged upload of all rounds is there, on the storage and through a node", async () => {
    const reader = await session();
    for (const [path, sum] of ledger) {
      assert.equal(sha256OfFileSync(partner.stored(path)), sum, path);
      assert.equal(sha256(await reader.get(path)), sum, path);
    }
    await reader.end();
    assert.ok(ledger.size >= ROUNDS);
  });

  test("P2: the watcher looked on all the time and saw only whole files", async () => {
    await watcher.stop();
    watcher.sawOnlyWholeFiles();
    assert.ok(watcher.looks > ROUNDS, `${watcher.looks} looks`);
  });

  test("P3: each partial held at least what its client was told, less one byte", () => {
    assert.deepEqual(lost, []);
  });

  test("nothing is left behind: no operation, claim, staging directory or partial", async () => {
    await nothingLeft(site);
  });
});
