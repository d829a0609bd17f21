import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { until } from "#lib/testing.js";
import { makeKeyPair } from "#protocols/sftp/testing-keys.js";
import type { RawSftp } from "../support/clients/raw-sftp.js";
import { Open } from "../support/clients/raw-sftp.js";
import { keepAwake } from "./fixture.js";
import { GuardedSite } from "./guarded-site.js";

/** Running sessions end within a second of what takes their ground away, on every node, whichever node was told. */

const PASSWORD = "the right one";
const keys = await makeKeyPair();
const otherKeys = await makeKeyPair();
const base = { password: PASSWORD, publicKeys: [keys.public, otherKeys.public] };
let site: GuardedSite;

keepAwake();
before(async () => {
  site = await GuardedSite.start();
});
after(() => site.stop());

/** The account on every node, by password and by key; each node's sessions come from an address of their own. */
async function sessionsOf(name: string) {
  const byPassword = await Promise.all(
    [0, 1, 2].map((i) => site.at(i, `192.0.2.${10 + i}`, name, { password: PASSWORD })),
  );
  const byKey = await Promise.all(
    [0, 1, 2].map((i) => site.at(i, `192.0.2.${20 + i}`, name, { privateKey: keys.private })),
  );
  const byOther = await site.at(1, "192.0.2.30", name, { privateKey: otherKeys.private });
  return { byPassword, byKey, byOther, all: [...byPassword, ...byKey, byOther] };
}

/** All are gone within a second of the reply to `act`. Resolves with how long the slowest one took, in milliseconds. */
async function endWithinASecond(sessions: readonly RawSftp[], act: () => Promise<unknown>): Promise<void> {
  for (const session of sessions) assert.equal(session.isGone, false);
  await act();
  const from = performance.now();
  await until("they are gone", () => sessions.every((session) => session.isGone), { deadlineMs: 1_000 });
  assert.ok(performance.now() - from <= 1_000);
}

/** Written through alpha, without waiting until it is in force. */
async function write(name: string, account: Record<string, unknown>): Promise<void> {
  const { status, text } = await site.node(0).ask(`/api/v1/accounts/${name}`, { method: "PUT", body: account });
  assert.equal(status, 200, text);
}

function stillThere(...sessions: readonly RawSftp[]): Promise<unknown> {
  return Promise.all(sessions.map((session) => session.realpath("/")));
}

test("an account that is disabled, removed or expired", async () => {
  await site.account("ann", base);
  await site.account("bob", base);
  const bystander = await site.at(2, "192.0.2.40", "bob", { password: PASSWORD });
  await endWithinASecond((await sessionsOf("ann")).all, () => write("ann", { ...base, enabled: false }));
  assert.equal(await site.guess(1, "192.0.2.50", "ann", PASSWORD), "refused");
  await site.account("ann", base);
  await endWithinASecond((await sessionsOf("ann")).all, () =>
    site.node(1).ask("/api/v1/accounts/ann", { method: "DELETE" }),
  );

  // The date comes once the sessions are there: logins take as long as the machine lets them.
  await site.account("ann", base);
  const { all } = await sessionsOf("ann");
  const soon = Date.now() + 5_000;
  await write("ann", { ...base, expiresAt: new Date(soon).toISOString() });
  assert.ok(Date.now() < soon);
  await endWithinASecond(all, () => until("it expires", () => Date.now() >= soon, { deadlineMs: 10_000 }));
  await stillThere(bystander);
  await bystander.end();
});

test("a changed password ends what was opened by it, and nothing that was opened by a key", async () => {
  await site.account("ann", base);
  const { byPassword, byKey, byOther } = await sessionsOf("ann");
  await endWithinASecond(byPassword, () => write("ann", { ...base, password: "another one" }));
  await stillThere(...byKey, byOther);
  await write("ann", { publicKeys: base.publicKeys, description: "an edit that keeps the password and the keys" });
  await site.account("bob", base);
  await stillThere(...byKey, byOther);
  for (const session of [...byKey, byOther]) await session.end();
});

test("a removed key ends what was opened by it, and nothing that was opened by another one", async () => {
  await site.account("ann", base);
  const { byPassword, byKey, byOther } = await sessionsOf("ann");
  await endWithinASecond(byKey, () => write("ann", { publicKeys: [otherKeys.public] }));
  await stillThere(...byPassword, byOther);
  await endWithinASecond([...byPassword, byOther], () =>
    write("ann", { ...base, password: "yet another", publicKeys: [] }),
  );
});

test("an address that is banned, or that the account or the site no longer takes", async () => {
  await site.account("ann", base);
  const { byPassword, byKey, byOther } = await sessionsOf("ann");
  const ban = (address: string) => site.node(0).ask("/api/v1/bans", { method: "POST", body: { address, seconds: 60 } });
  await endWithinASecond([byPassword[1] as RawSftp], () => ban("192.0.2.11"));
  await endWithinASecond([byPassword[2] as RawSftp], () => ban("192.0.2.12/31"));
  await stillThere(byPassword[0] as RawSftp, ...byKey, byOther);

  const allowed = {
    ...base,
    password: undefined,
    allowedAddresses: ["192.0.2.20", "192.0.2.21", "192.0.2.22", "192.0.2.30"],
  };
  await endWithinASecond([byPassword[0] as RawSftp], () => write("ann", allowed));
  await stillThere(...byKey, byOther);
  assert.equal(await site.guess(2, "192.0.2.10", "ann", PASSWORD), "refused");
  assert.equal(await site.guess(2, "192.0.2.20", "ann", PASSWORD), "in");

  const { body, etag } = await site.node(0).ask("/api/v1/site");
  await endWithinASecond([...byKey, byOther], () =>
    site.node(0).ask("/api/v1/site", {
      method: "PUT",
      body: { ...body, addressRules: { deny: ["192.0.2.16/28"] } },
      headers: { "if-match": etag ?? "" },
    }),
  );
  await site.settings({ addressRules: {} });
  const { bans } = (await site.node(2).ask("/api/v1/bans")).body as { bans: { address: string }[] };
  for (const { address } of bans) {
    await site.node(2).ask(`/api/v1/bans/${encodeURIComponent(address)}`, { method: "DELETE" });
  }
});

test("an account has its maxSessions over all nodes together, and gets them back from a node that dies", async () => {
  await site.account("cyd", { ...base, maxSessions: 2 });
  const one = await site.at(0, "192.0.2.60", "cyd", { password: PASSWORD });
  const two = await site.at(1, "192.0.2.61", "cyd", { password: PASSWORD });
  await until(
    "each node knows of both",
    async () => (await site.guess(2, "192.0.2.62", "cyd", PASSWORD)) === "closed",
    { deadlineMs: 2_000 },
  );
  assert.equal(await site.guess(0, "192.0.2.62", "cyd", PASSWORD), "closed");
  assert.equal(await site.guess(1, "192.0.2.62", "cyd", PASSWORD), "closed");
  await stillThere(one, two);

  await two.end();
  await until("the place is free", async () => (await site.guess(2, "192.0.2.62", "cyd", PASSWORD)) === "in", {
    deadlineMs: 2_000,
  });
  const three = await site.at(2, "192.0.2.63", "cyd", { password: PASSWORD });
  await until("full again", async () => (await site.guess(1, "192.0.2.62", "cyd", PASSWORD)) === "closed", {
    deadlineMs: 2_000,
  });

  await site.node(2).process.kill();
  const killed = performance.now();
  await until(
    "the dead node's sessions no longer count",
    async () => {
      return (await site.guess(1, "192.0.2.62", "cyd", PASSWORD)) === "in";
    },
    { deadlineMs: 5_000 },
  );
  // Well before the lease ends (3 s): a node that is silent for a second doesn't count.
  assert.ok(performance.now() - killed < 2_500, `${performance.now() - killed} ms`);
  site.node(2).launch();
  await site.node(2).ready();
  await one.end();
  await three.drop();
});

test("sessions and transfers of all nodes are listed by any node, and a session is ended from any node", async () => {
  await site.account("ann", base);
  const mine = await site.at(0, "192.0.2.70", "ann", { password: PASSWORD });
  const other = await site.at(1, "192.0.2.71", "ann", { privateKey: keys.private });
  const handle = await other.open("/slow.bin", Open.W | Open.C | Open.T);
  await other.write(handle, 0, Buffer.alloc(20_000));

  type Listed = { id: string; account: string; address: string; node: string; method: string }[];
  const list = async (index: number) =>
    (await site.node(index).ask("/api/v1/sessions")).body as { sessions: Listed; silent: string[] };
  const { sessions, silent } = await until(
    "all nodes answer",
    async () => {
      const answer = await list(2);
      return answer.silent.length === 0 && answer.sessions.length >= 2 ? answer : undefined;
    },
    { deadlineMs: 5_000 },
  );
  assert.deepEqual(silent, []);
  const found = (address: string) => sessions.find((one) => one.address === address);
  assert.deepEqual([found("192.0.2.70")?.node, found("192.0.2.70")?.method], ["alpha", "password"]);
  assert.deepEqual([found("192.0.2.71")?.node, found("192.0.2.71")?.method], ["beta", "publickey"]);

  const { transfers } = (await site.node(2).ask("/api/v1/transfers")).body as { transfers: Record<string, unknown>[] };
  const upload = transfers.find(({ path }) => path === "/slow.bin");
  assert.deepEqual(
    [upload?.direction, upload?.bytes, upload?.account, upload?.node, upload?.session],
    ["upload", 20_000, "ann", "beta", found("192.0.2.71")?.id],
  );

  await endWithinASecond([other], async () => {
    const path = `/api/v1/sessions/${found("192.0.2.71")?.id}`;
    const { status, body } = await site.node(2).ask(path, { method: "DELETE" });
    assert.deepEqual([status, body.node], [200, "beta"]);
  });
  await stillThere(mine);
  for (const id of [found("192.0.2.71")?.id, "000000000000", "x"])
    assert.equal((await site.node(0).ask(`/api/v1/sessions/${id}`, { method: "DELETE" })).status, 404);
  await mine.end();
});
