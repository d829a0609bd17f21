import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { FAILPOINTS, type Failpoint } from "#lib/failpoints.js";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { ExtraNode } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { ConnectionLost, codeOf, Open, type RawSftp, Status } from "../support/clients/raw-sftp.js";
import { within } from "../support/clients/run.js";
import { nothingLeft, nothingPending } from "../support/clients/store-residue.js";
import { type Site, startSite } from "../support/site.js";

/**
 * A node that dies between two steps of the commit, at each place where one ends: whoever meets what it left finishes it,
 * what the client was told holds, and nothing is left behind.
 */

const OLD = bytes(5_000, "old");
const NEW = bytes(300_000, "new");
/** From here on the transaction is applied: the upload is committed, whoever has to place it. */
const DECIDED: readonly Failpoint[] = [
  "commit-applied",
  "renamed",
  "placed",
  "replied",
  "recorded",
  "finish-sent",
  "finish-applied",
  "cleaned",
];
/** From here on the client may have its reply. */
const MAY_BE_ACKNOWLEDGED: readonly Failpoint[] = [
  "replied",
  "recorded",
  "finish-sent",
  "finish-applied",
  "cleaned",
  "placed",
];

type Told = "acknowledged" | "refused" | "nothing";

describe("failpoints", () => {
  let site: Site;
  let partner: Partner;
  let own: RawSftp;
  let other: RawSftp;
  let files = 0;

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "failpoints");
    const neighbour = await Partner.add(site, "neighbour", { home: partner.home });
    own = await partner.rawOn(0);
    other = await neighbour.rawOn(1);
  });
  after(async () => {
    await own?.end();
    await other?.end();
    await site?.stop();
  });

  /** Runs `work` in a session of a node that kills itself at `failpoint`, and resolves when it is dead. */
  async function dyingNode(failpoint: Failpoint, work: (session: RawSftp) => Promise<void>): Promise<Told> {
    const node = await ExtraNode.start(site, { env: { LONGSHORE_FAILPOINT: failpoint } });
    let told: Told = "nothing";
    try {
      const session = await partner.rawAt(node.sftpPort);
      try {
        await work(session);
        told = "acknowledged";
      } catch (error) {
        if (!(error instanceof ConnectionLost)) told = "refused";
      }
      const end = await within(15_000, `the node to die at ${failpoint}`, node.process.exited);
      assert.equal(end, "SIGKILL", node.process.output);
      await session.end();
    } finally {
      await node.kill();
    }
    return told;
  }

  const missing = async (path: string) => (await codeOf(other.stat(path))) === Status.NO_SUCH_FILE;
  const holds = async (path: string, content: Buffer) => {
    try {
      return (await other.get(path)).equals(content);
    } catch {
      return false;
    }
  };

  for (const failpoint of FAILPOINTS) {
    for (const over of ["a new name", "an existing file"] as const) {
      test(`an upload to ${over} whose node dies at ${failpoint}`, { timeout: 90_000 }, async () => {
        const path = `/upload-${files++}`;
        const old = over === "an existing file" ? OLD : undefined;
        if (old) await own.put(path, old);
        const told = await dyingNode(failpoint, (session) => session.put(path, NEW));
        assert.notEqual(told, "refused");
        if (!MAY_BE_ACKNOWLEDGED.includes(failpoint)) assert.equal(told, "nothing", "acknowledged before it was true");
        if (told === "acknowledged")
          assert.ok(readFileSync(partner.stored(path)).equals(NEW), "acknowledged, so it is there");
        else
          assert.ok(
            old
              ? (await holds(path, old)) || (await holds(path, NEW))
              : (await missing(path)) || (await holds(path, NEW)),
          );

        if (DECIDED.includes(failpoint)) {
          await until("recovery finishes it", () => holds(path, NEW));
        } else {
          // Committed by recovery, or a partial of all that was acknowledged, which is resumed.
          await until("it is finished or resumed", async () => {
            if (await holds(path, NEW)) return true;
            const { size = 0 } = await own.stat(path);
            assert.ok(size === NEW.length - 1 || size === NEW.length, `${size} bytes are shown`);
            if (size === NEW.length) return false; // committed since; the next look reads it
            await own.put(path, NEW.subarray(size), Open.W | Open.C, size);
            return true;
          });
        }
        assert.ok(await holds(path, NEW));
        await nothingPending(site);
      });
    }
  }

  const CHANGES: Readonly<
    Record<string, { act: (s: RawSftp, p: string) => Promise<void>; done: (p: string) => Promise<boolean> }>
  > = {
    "a removal": { act: (session, path) => session.remove(path), done: (path) => missing(path) },
    "a rename": {
      act: (session, path) => session.rename(path, `${path}.new`),
      done: async (path) => (await missing(path)) && (await holds(`${path}.new`, OLD)),
    },
    "a rename over a file": {
      act: async (session, path) => session.posixRename(path, `${path}.onto`),
      done: async (path) => (await missing(path)) && (await holds(`${path}.onto`, OLD)),
    },
    "a new directory": {
      act: (session, path) => session.mkdir(`${path}.d`),
      done: async (path) => existsSync(partner.stored(`${path}.d`)),
    },
  };
  for (const failpoint of ["commit-sent", "commit-applied", "placed", "finish-sent", "finish-applied"] as const) {
    for (const [what, { act, done }] of Object.entries(CHANGES)) {
      test(`${what} whose node dies at ${failpoint} happens whole or not at all`, { timeout: 90_000 }, async () => {
        const path = `/change-${files++}`;
        await own.put(path, OLD);
        await own.put(`${path}.onto`, NEW);
        const told = await dyingNode(failpoint, (session) => act(session, path));
        assert.notEqual(told, "refused");
        if (told === "acknowledged") assert.ok(await done(path), "acknowledged, so it is done");
        await nothingPending(site);
        const happened = await done(path);
        if (DECIDED.includes(failpoint)) assert.ok(happened, "it was decided, so it happens");
        if (!happened) {
          assert.ok(await holds(path, OLD), "not done: all is as it was");
          assert.ok(await holds(`${path}.onto`, NEW));
        }
      });
    }
  }

  test("at the end nothing is left on the storage either: no staging directory, pointer or note", async () => {
    await nothingLeft(site);
  });
});
