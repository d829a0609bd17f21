import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { SMTPServer } from "smtp-server";
import { keys } from "#coordination/keys.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { freePorts } from "../support/ports.js";
import { connect, keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

/** Three nodes, real etcd, a real SMTP server: what is due happens once, whoever coordinates. */

const DAY_MS = 86_400_000;

interface Received {
  readonly user: string | undefined;
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
}

let etcd: EtcdCluster;
let site: Site;
let nodes: Node[];
let smtp: SMTPServer;
const mails: Received[] = [];
let refuse = false;
let port = 0;

keepAwake();
before(async () => {
  [port = 0] = await freePorts(1);
  smtp = new SMTPServer({
    authOptional: false,
    allowInsecureAuth: true,
    disabledCommands: ["STARTTLS"],
    onAuth: ({ username, password }, _session, done) =>
      password === "smtp secret" ? done(null, { user: username }) : done(new Error("wrong password")),
    onRcptTo: (_address, _session, done) => done(refuse ? new Error("not now") : null),
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          user: session.user,
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: Buffer.concat(chunks).toString("utf8"),
        });
        done();
      });
    },
  });
  await new Promise<void>((resolve) => smtp.listen(port, "127.0.0.1", () => resolve()));
  etcd = await startEtcd();
  site = new Site(() => ({ kind: "etcd", endpoints: etcd.endpoints }));
  nodes = await Promise.all(["alpha", "beta", "gamma"].map((name, index) => site.node(name, index + 1)));
  await Promise.all(nodes.map((node) => node.ready()));
});
after(async () => {
  await Promise.all((nodes ?? []).map((node) => node.process.kill()));
  await etcd?.stop();
  await new Promise<void>((resolve) => smtp.close(() => resolve()));
  site?.remove();
});

const anyNode = () => nodes.find(({ process }) => process.alive) as Node;

async function changeSite(change: Record<string, unknown>): Promise<void> {
  const { body, etag } = await anyNode().ask("/api/v1/site");
  const put = { method: "PUT", body: { ...body, ...change }, headers: { "if-match": etag ?? "" } };
  const answer = await anyNode().ask("/api/v1/site", put);
  assert.equal(answer.status, 200, answer.text);
}
async function coordinatorName(): Promise<string | undefined> {
  const { coordinator } = (await anyNode().ask("/api/v1/status")).body as { coordinator: { name: string } | null };
  return coordinator?.name;
}
const put = (name: string, body: Record<string, unknown>) =>
  anyNode().ask(`/api/v1/accounts/${name}`, { method: "PUT", body });
const inDays = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString();
const to = (address: string) => mails.filter((mail) => mail.to.includes(address));

test("a notice goes out once per cluster, with the server's password stored sealed", async () => {
  await put("ann", { mail: "ann@example.org", expiresAt: inDays(10) });
  await changeSite({
    accountLife: { schedule: "* * * * * *" },
    mail: {
      server: { host: "127.0.0.1", port },
      from: "longshore@example.org",
      user: "longshore",
      password: "smtp secret",
      tls: "none",
    },
  });
  const { text } = await anyNode().ask("/api/v1/site");
  assert.match(text, /"passwordSealed":"ls1:/);
  assert.doesNotMatch(text, /smtp secret/);
  await until("ann has a notice", () => to("ann@example.org").length > 0, { deadlineMs: 15_000 });
  const [mail] = to("ann@example.org");
  assert.deepEqual([mail?.user, mail?.from], ["longshore", "longshore@example.org"]);
  assert.match(mail?.text ?? "", /^Subject: .*account ann expires in 10 days/m);
  assert.match(mail?.text ?? "", /^Auto-Submitted: auto-generated/m);
});

test("the coordinator is killed: another one takes over, and nobody hears anything twice", async () => {
  const name = await coordinatorName();
  const holder = nodes.find((node) => node.name === name);
  assert.ok(holder);
  await holder.process.kill();
  const other = async () => ![undefined, name].includes(await coordinatorName());
  await until("another one coordinates", other, { deadlineMs: 8_000 });
  await put("bob", { mail: "bob@example.org", expiresAt: inDays(2.5) });
  await until("bob has a notice", () => to("bob@example.org").length > 0, { deadlineMs: 15_000 });
  holder.launch();
  await holder.ready();
  assert.deepEqual([to("ann@example.org").length, to("bob@example.org").length], [1, 1]);
  const metrics = await Promise.all(nodes.map((node) => node.ask("/metrics")));
  assert.equal(metrics.filter(({ text }) => /^longshore_coordinator 1$/m.test(text)).length, 1);
});

test("a mail that the server refuses is sent at a later look, under the same id", async () => {
  refuse = true;
  await put("cid", { mail: "cid@example.org", expiresAt: inDays(0.5) });
  const refused = () => nodes.some(({ process }) => /a notice can't be sent/.test(process.output));
  await until("the refusal is said", refused, { deadlineMs: 15_000 });
  refuse = false;
  await until("cid has a notice", () => to("cid@example.org").length > 0, { deadlineMs: 15_000 });
  const found = await searchAudit("cid");
  assert.deepEqual(new Set(found.map(({ outcome }) => outcome)), new Set(["failed", "ok"]));
  assert.equal(new Set(found.map(({ details }) => details.messageId)).size, 1);
});

interface LifeRecord {
  readonly what: string;
  readonly outcome: string;
  readonly details: { readonly messageId?: string };
}

async function searchAudit(account: string): Promise<LifeRecord[]> {
  let records: LifeRecord[] = [];
  await until(
    `${account} is on the record`,
    async () => {
      const answer = await anyNode().ask(`/api/v1/audit?kind=life&account=${account}`);
      ({ records } = answer.body as { records: LifeRecord[] });
      return records.some(({ outcome }) => outcome === "ok");
    },
    { deadlineMs: 10_000 },
  );
  return records;
}

test("an account that nobody used for its days is disabled, then removed; one that was enabled again counts anew", async (t) => {
  const coordination = connect(etcd.endpoints, "test");
  t.after(() => coordination.close());
  const unused = async (name: string, days: number) => {
    const value = JSON.stringify({ since: Date.now() - days * DAY_MS });
    await coordination.transact({ compare: [], apply: [{ put: keys.life(name), value }] });
  };
  const account = async (name: string) => (await anyNode().ask(`/api/v1/accounts/${name}`)).body;
  for (const name of ["old", "older", "fresh"]) await put(name, {});
  await unused("old", 100);
  await unused("older", 400);
  await changeSite({
    accountLife: { schedule: "* * * * * *", disableAfterInactiveDays: 90, removeAfterInactiveDays: 365 },
  });
  await until("old is disabled", async () => (await account("old")).enabled === false, { deadlineMs: 15_000 });
  await until("older is gone", async () => (await account("older")).status === 404, { deadlineMs: 15_000 });
  assert.equal((await account("fresh")).enabled, true);
  assert.ok((await searchAudit("older")).some(({ what, outcome }) => what === "remove" && outcome === "ok"));
  await put("old", { enabled: true });
  const counted = async () => !/disabled/.test((await coordination.get(keys.life("old")))?.value ?? "disabled");
  await until("the coordinator has seen it", counted, { deadlineMs: 10_000 });
  assert.equal((await account("old")).enabled, true);
});

test("a former password is refused as a new one; its age is kept with the account", async () => {
  await changeSite({ accountLife: { passwordHistory: 2 } });
  const set = async (password: string) => (await put("dan", { password })).status;
  assert.deepEqual([await set("first secret"), await set("second secret")], [201, 200]);
  assert.equal(await set("first secret"), 422);
  assert.equal(await set("second secret"), 422);
  const changed = String((await anyNode().ask("/api/v1/accounts/dan")).body.passwordChangedAt);
  assert.ok(Math.abs(Date.parse(changed) - Date.now()) < 60_000);
  const kept = await put("dan", { description: "no word of the password" });
  assert.deepEqual([kept.body.hasPassword, kept.body.passwordChangedAt], [true, changed]);
  assert.doesNotMatch(kept.text, /argon2|passwordHistory/);
  assert.deepEqual([await set("third secret"), await set("fourth secret"), await set("first secret")], [200, 200, 200]);
});
