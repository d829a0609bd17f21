import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { AuditRecord } from "#audit/contract.js";
import { verifyAudit } from "#audit/verify.js";
import { until } from "#lib/testing.js";
import { bytes } from "../support/clients/content.js";
import { ExtraNode } from "../support/clients/node-process.js";
import { Partner } from "../support/clients/partner.js";
import { RawSftp } from "../support/clients/raw-sftp.js";
import { longshore, type Site, startSite } from "../support/site.js";
import { keepAwake } from "./fixture.js";

keepAwake();

/** Three nodes, real etcd: what happened is on the record, once, whichever node died; and the record stands. */
describe("the audit log of a site", () => {
  let site: Site;
  let partner: Partner;
  let log: string;
  const CONTENT = bytes(100_000, "audit");

  before(async () => {
    site = await startSite();
    partner = await Partner.add(site, "ann");
    log = join(site.endpoints().storage.path, ".longshore", "audit");
  });
  after(() => site?.stop());

  async function search(query: Record<string, string>): Promise<AuditRecord[]> {
    const answer = await site.admin(`/api/v1/audit?${new URLSearchParams(query)}`);
    return [...(answer as { records: AuditRecord[] }).records];
  }
  async function found(query: Record<string, string>, count: number): Promise<AuditRecord[]> {
    let records: AuditRecord[] = [];
    const what = `${count} records of ${JSON.stringify(query)}`;
    const look = async () => {
      records = await search(query);
      return records.length >= count;
    };
    await until(what, look, { deadlineMs: 15_000 });
    return records;
  }

  test("logins, transfers both ways and file operations name who, from where, what and how much", async () => {
    const session = await partner.rawOn(0, { source: "192.0.2.44" });
    await session.mkdir("/box");
    await session.put("/box/one", CONTENT);
    await session.get("/box/one");
    await session.rename("/box/one", "/box/two");
    await session.remove("/box/two");
    await session.rmdir("/box");
    await session.end();
    const [logout] = await found({ account: "ann", kind: "logout" }, 1);
    const records = (await search({ account: "ann", client: "192.0.2.44" })).reverse();
    const said = records.map(({ kind, what, outcome, path }) => [kind, what, outcome, path].filter((x) => x).join(" "));
    assert.deepEqual(
      said.slice().sort(),
      [
        "file delete ok /box/two",
        "file mkdir ok /box",
        "file rename ok /box/one",
        "file rmdir ok /box",
        `logout ${logout?.what} ok`,
        "login publickey ok",
        "transfer download complete /box/one",
        "transfer upload complete /box/one",
      ].sort(),
    );
    const name = site.node(0).name;
    assert.ok(
      records.every((each) => each.node === name && each.session === logout?.session),
      JSON.stringify(records),
    );
    const sizes = records.filter(({ kind }) => kind === "transfer").map(({ bytes: size }) => size);
    assert.deepEqual(sizes, [CONTENT.length, CONTENT.length]);
  });

  test("a login that is refused is there with its reason, never with what was typed as password", async () => {
    const { port } = new URL(`sftp://127.0.0.1:${site.node(1).sftpPort}`);
    const options = { host: "127.0.0.1", port: Number(port), user: "ann", password: "a wrong secret" };
    await assert.rejects(RawSftp.connect({ ...options, proxy: { source: "192.0.2.45" } }));
    const [refused] = await found({ kind: "login-refused", client: "192.0.2.45" }, 1);
    assert.deepEqual([refused?.who, refused?.outcome, refused?.node], ["ann", "refused", site.node(1).name]);
    assert.match(String(refused?.details?.reason), /wrong password/);
    assert.doesNotMatch(JSON.stringify(refused), /a wrong secret/);
  });

  test("a change of an administrator is there before and after, with what changed and no secret", async () => {
    const body = { password: "a new long secret", description: "changed", publicKeys: [] };
    await site.admin("/api/v1/accounts/bob", { method: "PUT", body, node: 2 });
    await site.admin("/api/v1/accounts/bob", { method: "PUT", body: { ...body, description: "again" }, node: 2 });
    assert.equal(
      (await site.adminFetch("/api/v1/accounts/bob", { method: "PUT", body: { x: 1 }, node: 2 })).status,
      422,
    );
    await site.admin("/api/v1/accounts/bob", { method: "DELETE", node: 2 });
    const records = await found({ kind: "admin", path: "/api/v1/accounts/bob" }, 8);
    const said = records.reverse().map(({ what, outcome }) => `${what} ${outcome}`);
    assert.deepEqual(said, [
      ...["put started", "put ok", "put started", "put ok"],
      ...["put started", "put refused", "delete started", "delete ok"],
    ]);
    const { change, revision } = (records[3]?.details ?? {}) as {
      change: Record<string, Record<string, unknown>>;
      revision: string;
    };
    assert.deepEqual([change.before?.description, change.after?.description], ["changed", "again"]);
    assert.match(revision, /^\d+$/);
    assert.ok(records.every(({ node, who }) => node === site.node(2).name && who === "site token"));
    assert.doesNotMatch(JSON.stringify(records), /argon2|a new long secret/);
  });

  for (const failpoint of ["commit-applied", "placed", "recorded", "finish-sent"] as const) {
    test(`an upload whose node is killed at ${failpoint} is on the record once, by whoever finished it`, async () => {
      const node = await ExtraNode.start(site, { env: { LONGSHORE_FAILPOINT: failpoint } });
      const path = `/killed-at-${failpoint}`;
      const session = await partner.rawAt(node.sftpPort);
      await session.put(path, CONTENT).catch(() => {});
      await node.process.exited;
      // a record that the dead node itself made is on its own disk until it comes back
      const spool = join(site.directory, "nodes", node.name, "data", "audit");
      const own = readdirSync(spool)
        .map((file) => readFileSync(join(spool, file), "utf8"))
        .join("");
      const mine = [...own.matchAll(/^\{.*"outcome":"complete".*\}$/gm)].map(
        ([line]) => JSON.parse(line) as AuditRecord,
      );
      const made = mine.filter((record) => record.path === path);
      assert.equal(made.length, failpoint === "recorded" || failpoint === "finish-sent" ? 1 : 0);
      assert.ok((await verifyAudit(spool)).whole);

      await until(
        "nothing is pending",
        async () => (await search({ path, kind: "transfer" })).length + made.length > 0,
        {
          deadlineMs: 15_000,
        },
      );
      await partner.rawOn(1).then(async (reader) => {
        assert.equal((await reader.stat(path)).size, CONTENT.length);
        await reader.end();
      });
      const records = await search({ path, kind: "transfer" });
      const complete = records.filter(({ outcome }) => outcome === "complete");
      assert.ok(complete.length <= 1);
      const [first] = [...complete, ...made];
      assert.deepEqual([first?.who, first?.bytes], ["ann", CONTENT.length]);
      // the two of them, if there are two, say the same change: verify tells them as repeats
      assert.ok([...complete, ...made].every(({ op, transfer }) => op === first?.op && transfer === first?.transfer));
      if (made.length === 0) assert.equal(first?.details?.committedBy, node.name);
    });
  }

  test("what partners and administrators were refused is there; a guesser's many tries are counted", async () => {
    const { revision } = (await site.admin("/api/v1/accounts/reader", {
      method: "PUT",
      body: { password: "reader-Pa55 word", permissions: [{ path: "/", allow: ["list", "read"] }] },
    })) as { revision: number };
    await site.converged(revision);
    const { host, port } = site.endpoints().sftp;
    const session = await RawSftp.connect({ host, port, user: "reader", password: "reader-Pa55 word" });
    await assert.rejects(session.mkdir("/not-mine"));
    await session.end();
    const [refused] = await found({ account: "reader", kind: "file" }, 1);
    const { what, outcome, path, details } = refused as AuditRecord;
    assert.deepEqual([what, outcome, path, details?.code], ["mkdir", "refused", "/not-mine", "permission-denied"]);

    const guess = async (path: string): Promise<AuditRecord[]> => {
      for (let i = 0; i < 30; i += 1) {
        const headers = { authorization: "Bearer guessed" };
        assert.equal((await site.adminFetch(path, { node: 1, headers })).status, 401);
      }
      const records = await found({ kind: "admin", path, node: site.node(1).name }, 20);
      return records.filter((record) => record.outcome === "denied");
    };
    let denied = await guess("/api/v1/accounts");
    if (denied.length > 20) {
      // The node's minute ended meanwhile, and it began to count anew. A minute later it has just done so.
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      denied = await guess("/api/v1/groups");
    }
    assert.equal(denied.length, 20, "the others of this minute are one record");
    assert.equal(denied[0]?.details?.reason, "unknown");
  });

  test("newest lines of a dead node that somebody cuts off show, by the store's anchor", async () => {
    const node = await ExtraNode.start(site);
    const anchored = async () => {
      const { anchors } = (await site.admin("/api/v1/audit/anchors")) as {
        anchors: Record<string, { node: string; seq: number }>;
      };
      // Past the one line that is left below.
      return Object.entries(anchors).find(([, { node: name, seq }]) => name === node.name && seq > 1)?.[0];
    };
    const chain = (await until("its anchor is in the store", anchored, { deadlineMs: 20_000 })) as unknown as string;
    await node.kill();
    const directory = join(log, chain);
    const file = join(directory, readdirSync(directory).sort().at(-1) as string);
    const whole = readFileSync(file, "utf8");
    writeFileSync(file, `${whole.split("\n")[0]}\n`);
    const verify = () => longshore(["audit", "verify", "--dir", site.directory]);
    const cut = await verify();
    assert.equal(cut.code, 10);
    assert.match(cut.stdout, new RegExp(`${node.name}: newest-missing`));
    writeFileSync(file, whole);
    const mended = await verify();
    assert.equal(mended.code, 0, mended.stdout + mended.stderr);
  });

  test("verify and search work from the command line; one changed byte is found, with its line and exit code 10", async () => {
    const verify = () => longshore(["audit", "verify", "--dir", site.directory, "-o", "json"]);
    const fine = await verify();
    assert.equal(fine.code, 0, fine.stdout + fine.stderr);
    const chains = (JSON.parse(fine.stdout) as { chains: { node: string; segments: number }[] }).chains;
    assert.ok(chains.length >= 3);
    const listed = await longshore([
      "audit",
      "search",
      "--dir",
      site.directory,
      "--account",
      "ann",
      "--since",
      "1h",
      "-o",
      "json",
    ]);
    assert.equal(listed.code, 0, listed.stderr);
    assert.ok((JSON.parse(listed.stdout) as { records: unknown[] }).records.length > 5);
    const asText = await longshore(["audit", "search", "--files", log, "--kind", "admin", "--limit", "3"]);
    assert.equal(asText.stdout.trim().split("\n").length, 4);
    assert.match(asText.stderr, /there are older ones/);
    assert.equal((await longshore(["audit", "search", "--dir", site.directory, "--since", "soon"])).code, 2);

    const [chain = ""] = readdirSync(log);
    const [segment = ""] = readdirSync(join(log, chain));
    const file = join(log, chain, segment);
    const content = readFileSync(file);
    const at = content.indexOf('"outcome"') + 12;
    content[at] = (content[at] as number) ^ 1;
    writeFileSync(file, content);
    const broken = await verify();
    assert.equal(broken.code, 10);
    assert.match(broken.stdout, /"fault": "changed"/);
  });
});
