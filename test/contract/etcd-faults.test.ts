import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { copyFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import type { Coordination, WatchHint } from "#coordination/contract.js";
import { LeaseGoneError, OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { createEtcdCoordination, type EtcdTls } from "#coordination/etcd.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { until } from "#lib/testing.js";
import { type EtcdCluster, startEtcd } from "../support/etcd.js";
import { type Certificate, makeAuthority } from "../support/etcd-certificates.js";
import { freePort } from "../support/ports.js";
import { killAll } from "../support/processes.js";
import { TcpProxy } from "../support/tcp-proxy.js";
import { applied, put } from "./backends.js";
import { Ledger } from "./ledger.js";

/** A call may be late by so much on a busy machine, milliseconds. */
const SLACK_MS = 1_000;

/** Keeps the lines that were logged, for what can't be seen from outside. */
function listeningLogger(lines: string[]): Logger {
  const log = (message: string) => {
    lines.push(message);
  };
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
  return logger;
}

async function timed<T>(call: Promise<T>): Promise<{ ms: number; error: unknown }> {
  const startedAt = monotonicMs();
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { ms: monotonicMs() - startedAt, error };
}

describe("coordination store on one real etcd, with faults", { concurrency: false }, () => {
  let etcd: EtcdCluster;
  const opened: Coordination[] = [];
  const proxies: TcpProxy[] = [];
  const open = (endpoints: readonly string[], site: string, logger?: Logger) => {
    const store = createEtcdCoordination({ endpoints, site, ...(logger ? { logger } : {}) });
    opened.push(store);
    return store;
  };
  const proxied = async () => {
    const proxy = await TcpProxy.start(etcd.endpoints[0] as string);
    proxies.push(proxy);
    return proxy;
  };

  before(async () => {
    etcd = await startEtcd();
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
    for (const proxy of proxies.splice(0)) await proxy.close();
  });
  after(async () => {
    await etcd?.stop();
    await killAll();
  });

  it("starts a paged list over when its revision is compacted under it", async () => {
    const site = randomUUID();
    const lines: string[] = [];
    const proxy = await proxied();
    const slow = open([proxy.address], site, listeningLogger(lines));
    const fast = open(etcd.endpoints, site);
    const COUNT = 3_000;
    for (let i = 0; i < COUNT; i += 1_000) {
      const apply = Array.from({ length: 1_000 }, (_, k) => put(`p/${String(i + k).padStart(5, "0")}`, "0"));
      applied(await fast.transact({ compare: [], apply }));
    }
    await slow.get("warm");
    proxy.delay(40);
    const listing = slow.list("p/", { deadlineMs: 20_000 });
    await until(
      "the list has started over twice",
      async () => {
        const revision = applied(await fast.transact({ compare: [], apply: [put("p/00000", randomUUID())] }));
        await etcd.ctl("compact", String(revision));
        return lines.filter((line) => line.includes("starts over")).length >= 2;
      },
      { deadlineMs: 15_000 },
    );
    const { entries, revision } = await listing;
    assert.equal(entries.length, COUNT);
    assert.ok(entries.every((entry) => entry.modRevision <= revision));
  });

  it("brings a follower up to date that was cut off while its history was compacted", async () => {
    const site = randomUUID();
    const proxy = await proxied();
    const watcher = open([proxy.address], site);
    const writer = open(etcd.endpoints, site);
    const hints: WatchHint[] = [];
    let seen = 0;
    watcher.watch("w/", (hint) => {
      hints.push(hint);
      void watcher.list("w/").then(
        (listing) => {
          seen = Math.max(seen, listing.revision);
        },
        () => undefined,
      );
    });
    await until("the watch is in place", () => seen > 0, { deadlineMs: 5_000 });
    proxy.stall();
    let last = 0;
    for (let i = 0; i < 50; i++) last = applied(await writer.transact({ compare: [], apply: [put(`w/${i}`)] }));
    await etcd.ctl("compact", String(last));
    proxy.cut();
    proxy.resume();
    await until("the follower lists again", () => seen >= last, { deadlineMs: 10_000 });
    assert.ok(hints.filter((hint) => hint.kind === "resync").length >= 2, "a gap is announced by resync");
  });

  it("notices a half-open watch and goes on over another address", async (t) => {
    const site = randomUUID();
    const proxy = await proxied();
    const watcher = open([proxy.address, etcd.endpoints[0] as string], site);
    const writer = open(etcd.endpoints, site);
    const hints: WatchHint[] = [];
    watcher.watch("w/", (hint) => hints.push(hint));
    await until("the watch is in place", () => hints.length > 0, { deadlineMs: 5_000 });
    proxy.stall();
    applied(await writer.transact({ compare: [], apply: [put("w/silent")] }));
    const startedAt = monotonicMs();
    await until("the follower is told to list again", () => hints.length > 1, { deadlineMs: 15_000 });
    t.diagnostic(`half-open watch noticed after ${Math.round(monotonicMs() - startedAt)} ms`);
    assert.deepEqual(hints[1], { kind: "resync" });
    applied(await writer.transact({ compare: [], apply: [put("w/heard")] }));
    await until("the new watch works", () => hints.some((hint) => hint.kind === "changed"), { deadlineMs: 5_000 });
  });

  it("keeps its only watch through a stall, too", async () => {
    const site = randomUUID();
    const proxy = await proxied();
    const watcher = open([proxy.address], site);
    const hints: WatchHint[] = [];
    watcher.watch("w/", (hint) => hints.push(hint));
    await until("the watch is in place", () => hints.length > 0, { deadlineMs: 5_000 });
    proxy.stall();
    const writer = open(etcd.endpoints, site);
    applied(await writer.transact({ compare: [], apply: [put("w/1")] }));
    // Long enough for the watch to give its connection up: it asks for a sign of life every 2 s and waits 3 s for it.
    const connections = proxy.connections;
    await until("it makes a new connection", () => proxy.connections > connections, { deadlineMs: 15_000 });
    proxy.resume();
    const before = hints.length;
    await until("it is told to list again", () => hints.slice(before).some((hint) => hint.kind === "resync"), {
      deadlineMs: 10_000,
    });
  });

  it("stops using its lease before the store ends it, when its connection stalls", async (t) => {
    const site = randomUUID();
    const proxy = await proxied();
    const holder = open([proxy.address], site);
    const other = open(etcd.endpoints, site);
    const lease = await holder.lease();
    let usableChanges = 0;
    lease.onUsableChange(() => usableChanges++);
    const created = applied(await holder.transact({ compare: [], apply: [put("owner", "", lease.id)] }));
    const fenced = (value: string) => ({
      compare: [{ key: "owner", is: "created-at", revision: created } as const],
      apply: [put("work", value)],
    });
    applied(await holder.transact(fenced("before")));

    proxy.stall();
    const stalledAt = monotonicMs();
    const inFlight = timed(holder.transact(fenced("in flight")));
    let unusableAt = 0;
    await until(
      "the key is gone",
      async () => {
        if (unusableAt === 0 && !lease.usable()) unusableAt = monotonicMs();
        return (await other.get("owner")) === undefined;
      },
      { deadlineMs: 12_000 },
    );
    const goneAt = monotonicMs();
    assert.ok(unusableAt > 0, "it still believed in its lease when the key was gone");
    t.diagnostic(
      `unusable after ${Math.round(unusableAt - stalledAt)} ms, key gone after ${Math.round(goneAt - stalledAt)} ms`,
    );
    assert.ok(unusableAt - stalledAt < 2_100, "two seconds after the last keep-alive at the latest");
    assert.equal(usableChanges, 1);
    const { ms, error } = await inFlight;
    assert.ok(error instanceof OutcomeUnknownError, String(error));
    assert.ok(ms < 2_000 + SLACK_MS);

    // What was held back now reaches etcd, late: the fence must stop it.
    proxy.resume();
    await until("the holder hears that it is dead", () => lease.ended(), { deadlineMs: 20_000 });
    assert.equal((await holder.transact(fenced("after"), { deadlineMs: 5_000 })).applied, false);
    await assert.rejects(holder.transact({ compare: [], apply: [put("owner", "", lease.id)] }), LeaseGoneError);
    assert.equal((await other.get("work"))?.value, "before");
  });

  it("says certainly-not for what was never sent, and unknown for what was sent and not answered", async () => {
    const site = randomUUID();
    const nobody = open([`127.0.0.1:${await freePort()}`], site);
    const never = await timed(nobody.transact({ compare: [], apply: [put("k")] }, { deadlineMs: 600 }));
    assert.ok(never.error instanceof StoreUnavailableError, String(never.error));
    assert.match(never.error.message, /ECONNREFUSED/);
    assert.ok(never.ms < 600 + SLACK_MS, `took ${never.ms} ms`);
    await assert.rejects(nobody.get("k", { deadlineMs: 300 }), StoreUnavailableError);
    await assert.rejects(nobody.list("", { deadlineMs: 300 }), StoreUnavailableError);
    await assert.rejects(nobody.lease(), StoreUnavailableError);

    const store = open(etcd.endpoints, site);
    applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
    const [member] = etcd.members;
    assert.ok(member);
    member.stop();
    try {
      const [sent, read] = await Promise.all([
        timed(store.transact({ compare: [], apply: [put("k", "2")] }, { deadlineMs: 800 })),
        timed(store.get("k", { deadlineMs: 800 })),
      ]);
      assert.ok(sent.error instanceof OutcomeUnknownError, String(sent.error));
      assert.ok(read.error instanceof StoreUnavailableError, String(read.error));
      assert.ok(Math.max(sent.ms, read.ms) < 800 + SLACK_MS);
      const harmless = await timed(
        store.transact({ compare: [{ key: "k", is: "absent" }], apply: [] }, { deadlineMs: 400 }),
      );
      assert.ok(harmless.error instanceof StoreUnavailableError, "without operations there is nothing to be unsure of");
    } finally {
      member.cont();
    }
    await until("it answers again", () => store.get("k"), { deadlineMs: 10_000 });
  });

  it("keeps every acknowledged transaction when etcd is killed and started again, and no refused one", async (t) => {
    const store = open(etcd.endpoints, randomUUID());
    const ledger = new Ledger(store, 6, 1_500);
    t.after(() => ledger.stop());
    for (let round = 0; round < 3; round++) {
      await ledger.progress(150, 15_000);
      await etcd.members[0]?.restart();
    }
    await ledger.progress(50, 15_000);
    t.diagnostic(await ledger.settle());
  });

  it("keeps its word through a network that breaks again and again", async (t) => {
    const proxy = await proxied();
    const store = open([proxy.address], randomUUID());
    const ledger = new Ledger(store, 4, 800);
    t.after(() => ledger.stop());
    for (let round = 0; round < 4; round++) {
      await ledger.progress(100, 15_000);
      if (round % 2 === 0) proxy.cut();
      else {
        // Answers are lost, not requests. One is sure to be on its way: the ledger's writers may all be reading just then,
        // and nothing more is sent by a connection that doesn't answer.
        const sent = store.transact({ compare: [], apply: [put("sent", randomUUID())] }, { deadlineMs: 800 });
        proxy.stall("down");
        await assert.rejects(sent, OutcomeUnknownError);
        proxy.cut();
        proxy.resume();
      }
    }
    await ledger.progress(50, 15_000);
    t.diagnostic(await ledger.settle());
  });

  it("calls the outcome unknown when etcd is out of space, and goes on reading", async () => {
    const full = await startEtcd({ args: ["--quota-backend-bytes=4000000"] });
    try {
      const store = open(full.endpoints, "full");
      const value = "x".repeat(256 * 1024);
      const error = await until(
        "etcd's quota is used up",
        async () => {
          try {
            applied(await store.transact({ compare: [], apply: [put("k", value)] }));
            return undefined;
          } catch (reason) {
            return reason;
          }
        },
        { deadlineMs: 20_000 },
      );
      // etcd applies a transaction on the quota and then reports no space (apply.go, quotaApplierV3).
      assert.ok(error instanceof OutcomeUnknownError, String(error));
      assert.match(error.message, /disarm/);
      assert.equal((await store.get("k"))?.value, value);
    } finally {
      await full.stop();
    }
  });
});

async function contentOf({ ca, cert, key }: Certificate): Promise<EtcdTls> {
  return { ca: await readFile(ca, "utf8"), cert: await readFile(cert, "utf8"), key: await readFile(key, "utf8") };
}

describe("coordination store on etcd with mutual TLS", () => {
  let directory = "";
  let etcd: EtcdCluster;
  let client: Certificate;
  let stranger: Certificate;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "longshore-etcd-tls-"));
    const issue = await makeAuthority(directory, "ours");
    client = await issue("longshore");
    stranger = await (await makeAuthority(directory, "theirs"))("longshore");
    etcd = await startEtcd({ tls: await issue("etcd") });
  });
  after(async () => {
    await etcd?.stop();
    await rm(directory, { recursive: true, force: true });
    await killAll();
  });

  it("serves a client with our certificate: calls, lease and watch", async () => {
    const store = createEtcdCoordination({ endpoints: etcd.endpoints, site: "tls", tls: await contentOf(client) });
    try {
      const hints: WatchHint[] = [];
      store.watch("", (hint) => hints.push(hint));
      const lease = await store.lease();
      applied(await store.transact({ compare: [], apply: [put("k", "1", lease.id)] }));
      assert.equal((await store.get("k"))?.value, "1");
      await until("the watch works", () => hints.length > 0, { deadlineMs: 5_000 });
      await lease.release();
      assert.equal(await store.get("k"), undefined);
    } finally {
      await store.close();
    }
  });

  it("is refused without a certificate, with a stranger's, and without TLS; nothing is sent then", async () => {
    const plain = etcd.endpoints.map((endpoint) => endpoint.replace("https://", ""));
    const clients = [
      createEtcdCoordination({ endpoints: etcd.endpoints, site: "tls" }),
      createEtcdCoordination({
        endpoints: etcd.endpoints,
        site: "tls",
        tls: await contentOf({ ...stranger, ca: client.ca }),
      }),
      createEtcdCoordination({ endpoints: plain, site: "tls" }),
    ];
    for (const store of clients) {
      const call = store.transact({ compare: [], apply: [put("k", "2")] }, { deadlineMs: 1_000 });
      await assert.rejects(call, StoreUnavailableError);
      await assert.rejects(store.get("k", { deadlineMs: 1_000 }), StoreUnavailableError);
      await store.close();
    }
  });

  it("goes over to another authority without being made anew: calls, lease and watch", async () => {
    const followed = {
      ca: join(directory, "ca.pem"),
      cert: join(directory, "cert.pem"),
      key: join(directory, "key.pem"),
    };
    const replace = async (files: Certificate) => {
      await copyFile(files.ca, followed.ca);
      await copyFile(files.cert, followed.cert);
      await copyFile(files.key, followed.key);
    };
    const [before, after] = [await makeAuthority(directory, "before"), await makeAuthority(directory, "after")];
    await replace(await before("etcd"));
    const renewed = await startEtcd({ tls: followed });
    const store = createEtcdCoordination({
      endpoints: renewed.endpoints,
      site: "tls",
      tls: await contentOf(await before("longshore")),
    });
    try {
      const hints: WatchHint[] = [];
      store.watch("", (hint) => hints.push(hint));
      applied(await store.transact({ compare: [], apply: [put("k", "1")] }));
      await until("the watch works", () => hints.some((hint) => hint.kind === "changed"), { deadlineMs: 5_000 });
      await replace(await after("etcd"));
      for (const member of renewed.members) await member.restart();
      await assert.rejects(store.get("k", { deadlineMs: 1_000 }), StoreUnavailableError);
      hints.length = 0;
      store.renewTls(await contentOf(await after("longshore")));
      await until(
        "it is connected again",
        async () => {
          return (await store.get("k", { deadlineMs: 1_000 }).catch(() => undefined))?.value === "1";
        },
        { deadlineMs: 10_000 },
      );
      const lease = await store.lease();
      await until(
        "the watch works again",
        async () => {
          applied(await store.transact({ compare: [], apply: [put("l", "1", lease.id)] }));
          return hints.length > 0;
        },
        { deadlineMs: 10_000 },
      );
      await lease.release();
    } finally {
      await store.close();
      await renewed.stop();
    }
  });
});
