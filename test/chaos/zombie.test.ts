import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { bytes, seeded } from "../support/clients/content.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { nothingLeft, nothingPending } from "../support/clients/store-residue.js";
import { type Site, startSite } from "../support/site.js";

/** A node that stops past its lease and wakes up: others went on meanwhile, and what it does late harms nothing. */

const ROUNDS = Number(process.env.LONGSHORE_ZOMBIE_ROUNDS ?? 6);
const SEED = Number(process.env.LONGSHORE_SEED ?? Date.now() % 1_000_000);
const MINE = bytes(1_000_000, "mine");
const REST = bytes(500_000, "rest");
const THEIRS = bytes(700_000, "theirs");

describe(`a node stopped past its lease, seed ${SEED}`, () => {
  const random = seeded(SEED);
  let site: Site;
  let partner: Partner;
  let neighbour: Partner;
  let other: RawSftp;
  let files = 0;

  before(async () => {
    // Nobody may start the stopped node anew behind our back.
    site = await startSite({ restart: false });
    partner = await Partner.add(site, "zombie");
    neighbour = await Partner.add(site, "neighbour", { home: partner.home });
    other = await neighbour.rawOn(1);
  });
  after(async () => {
    await other?.end();
    await site?.stop();
  });

  const members = async (): Promise<string[]> => {
    const { nodes } = (await site.admin("/api/v1/nodes", { node: 1 })) as { nodes: { name: string }[] };
    return nodes.map(({ name }) => name);
  };

  /** Stops node 0, waits until the cluster has given it up, runs `action`, wakes it up and waits until it is back. */
  async function asZombie(action: () => Promise<void>): Promise<void> {
    const { name } = site.node(0);
    const pid = site.killNode(0, "SIGSTOP");
    try {
      await until(`${name}'s lease is over`, async () => !(await members()).includes(name), { deadlineMs: 20_000 });
      await action();
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await site.nodeReady(0);
    await until(`${name} is a member again`, async () => (await members()).includes(name));
    assert.equal(site.pid(0), pid, "the same process came back");
  }

  const outcome = (operation: Promise<unknown>) =>
    codeOf(operation).catch((error: unknown) => {
      if (error instanceof ConnectionLost) return Status.CONNECTION_LOST;
      throw error;
    });

  test("its late WRITE and CLOSE don't touch what another node took over and committed", async () => {
    const path = `/file-${files++}`;
    const session = await partner.rawOn(0, { replyMs: 60_000 });
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    await session.writeAll(handle, MINE);
    let late: Promise<number[]> = Promise.resolve([]);
    await asZombie(async () => {
      // They lie in its socket until it wakes up.
      late = Promise.all([
        outcome(session.write(handle, 0, THEIRS)),
        outcome(session.write(handle, MINE.length, THEIRS)),
        outcome(session.close(handle)),
      ]);
      const taker = await partner.rawOn(1);
      const resumed = await taker.open(path, Open.W | Open.C);
      const { size = 0 } = await taker.fstat(resumed);
      assert.equal(size, MINE.length - 1);
      await taker.writeAll(resumed, MINE.subarray(size), size);
      await taker.writeAll(resumed, REST, MINE.length);
      await taker.close(resumed);
      await taker.end();
    });
    const replies = await late;
    assert.notEqual(replies[2], Status.OK, "its CLOSE is not acknowledged");
    assert.ok((await other.get(path)).equals(Buffer.concat([MINE, REST])), "the file is the one that was committed");
    await session.end();
    await nothingPending(site);
  });

  test("a taker that isn't done yet keeps its upload when the zombie writes into the old one", async () => {
    const path = `/file-${files++}`;
    const session = await partner.rawOn(0, { replyMs: 60_000 });
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    await session.writeAll(handle, MINE);
    let taker: RawSftp | undefined;
    let resumed = Buffer.alloc(0);
    let late: Promise<number[]> = Promise.resolve([]);
    await asZombie(async () => {
      late = Promise.all([outcome(session.write(handle, 0, THEIRS)), outcome(session.close(handle))]);
      taker = await partner.rawOn(1);
      resumed = Buffer.from(await taker.open(path, Open.W | Open.C));
      await taker.writeAll(resumed, MINE.subarray(MINE.length - 1), MINE.length - 1);
    });
    assert.notEqual((await late)[1], Status.OK);
    assert.ok(taker);
    await taker.writeAll(resumed, REST, MINE.length);
    await taker.close(resumed);
    assert.ok((await other.get(path)).equals(Buffer.concat([MINE, REST])));
    await taker.end();
    await session.end();
    await nothingPending(site);
  });

  for (const how of ["taken over", "begun anew"] as const) {
    test(`a partial that was ${how} elsewhere can still be found and resumed after the zombie woke up`, async () => {
      const path = `/file-${files++}`;
      const session = await partner.rawOn(0, { replyMs: 60_000 });
      const handle = await session.open(path, Open.W | Open.C | Open.T);
      await session.writeAll(handle, THEIRS.subarray(0, 300_000));
      const taker = await partner.rawOn(1);
      await asZombie(async () => {
        const anew = how === "begun anew";
        const second = await taker.open(path, Open.W | Open.C | (anew ? Open.T : 0));
        const from = anew ? 0 : 299_999;
        await taker.writeAll(second, (anew ? MINE : THEIRS).subarray(from, 600_000), from);
      });
      await taker.drop();
      const whole = how === "begun anew" ? MINE : THEIRS;
      const next = await partner.rawOn(2);
      await until("the partial of 600,000 bytes shows", async () => (await next.stat(path)).size === 599_999);
      await next.put(path, whole.subarray(599_999), Open.W | Open.C, 599_999);
      assert.ok((await other.get(path)).equals(whole));
      await next.end();
      await session.end();
      await nothingPending(site);
    });
  }

  test("a partial that was removed or replaced meanwhile doesn't come back", async () => {
    const [gone, replaced] = [`/file-${files++}`, `/file-${files++}`];
    const session = await partner.rawOn(0, { replyMs: 60_000 });
    const handles = [];
    for (const path of [gone, replaced]) {
      const handle = await session.open(path, Open.W | Open.C | Open.T);
      await session.writeAll(handle, MINE);
      handles.push(handle);
    }
    await asZombie(async () => {
      const elsewhere = await partner.rawOn(1);
      await elsewhere.remove(gone);
      await elsewhere.remove(replaced);
      await elsewhere.put(replaced, THEIRS);
      await elsewhere.end();
    });
    // It is alive again and the client never left: a CLOSE may be refused, but a removal that was acknowledged holds.
    const replies = [];
    for (const handle of handles) replies.push(await outcome(session.close(handle)));
    assert.notEqual(replies[0], Status.OK, "the removed upload can't be committed");
    assert.notEqual(replies[1], Status.OK, "nor the removed and replaced one");
    assert.equal(await codeOf(other.stat(gone)), Status.NO_SUCH_FILE);
    assert.ok((await other.get(replaced)).equals(THEIRS));
    await session.end();
    await nothingPending(site);
  });

  for (let round = 0; round < ROUNDS; round++) {
    test(`stopped at a random moment of a commit, round ${round}: one whole file, and the replies agree with it`, async (t) => {
      const path = `/file-${files++}`;
      await other.put(path, bytes(10_000, "old"));
      const session = await partner.rawOn(0, { replyMs: 60_000 });
      const handle = await session.open(path, Open.W | Open.C | Open.T);
      await session.writeAll(handle, MINE);
      const late = outcome(session.close(handle));
      await new Promise((resolve) => setTimeout(resolve, random() * 12));
      await asZombie(async () => {
        // Another account's upload to the same name; where the stopped commit was decided, it is finished first.
        await other.put(path, THEIRS);
        assert.ok((await other.get(path)).equals(THEIRS));
      });
      const reply = await late;
      const settled = nothingPending(site);
      await settled.catch(() => undefined);
      const seen = await other.get(path);
      const first = seen.equals(MINE) ? "the zombie's" : seen.equals(THEIRS) ? "the other" : "a mixture";
      t.diagnostic(`its CLOSE got ${reply}; the file is ${first}`);
      assert.notEqual(first, "a mixture");
      // Not decided when it stopped: then its commit is a new one after it woke up, and it says so.
      if (first === "the zombie's") assert.equal(reply, Status.OK, "a commit after the other one is acknowledged");
      await session.end();
      await settled;
    });
  }

  test("at the end nothing is left on the storage either: no staging directory, pointer or note", async () => {
    await nothingLeft(site);
  });
});
