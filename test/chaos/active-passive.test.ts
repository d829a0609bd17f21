import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { activeNode, activeNow, balancerStates, indexOf, stateOf, takes } from "../support/active.js";
import { Ledger } from "../support/clients/ledger.js";
import { LoginProbe } from "../support/clients/login-probe.js";
import { Partner } from "../support/clients/partner.js";
import { report } from "../support/clients/run.js";
import { nothingPending } from "../support/clients/store-residue.js";
import { Traffic } from "../support/clients/traffic.js";
import { Watcher } from "../support/clients/watcher.js";
import { type Site, startSite } from "../support/site.js";

/**
 * The active node of a site in the mode active-passive dies, with a word (kill -9) or silently (it stands still, as behind a
 * pulled cable, and comes back later). Partners' traffic goes on through HAProxy meanwhile: P1 to P3, and one node serves.
 */

/** Promised for a silent death. */
const TAKEOVER_MS = 10_000;
/** The woken node is looked at for so long. */
const AFTER_MS = 4_000;

describe("the active node dies", () => {
  let site: Site;
  let partner: Partner;
  let traffic: Traffic;
  let watcher: Watcher;
  const ledger = new Ledger();
  /** For a test that failed before it ended what it had begun. */
  let cleanUp: (() => Promise<void>)[] = [];

  before(async () => {
    site = await startSite({ mode: "active-passive", restart: false });
    partner = await Partner.add(site, "kept");
    const onlooker = await Partner.add(site, "onlooker", { home: partner.home });
    // Through the balancer, as everybody.
    watcher = new Watcher(() => onlooker.raw({ replyMs: 20_000 }));
    const session = await partner.raw();
    await session.mkdir("/traffic");
    await session.end();
    traffic = new Traffic({
      partner,
      ports: [site.endpoints().sftp.port],
      ledger,
      watcher,
      directory: "/traffic",
    });
    await until("files are sent", () => traffic.files > 3);
  });
  afterEach(async () => {
    await Promise.all(cleanUp.map((end) => end()));
    cleanUp = [];
  });
  after(async () => {
    await traffic?.abandon();
    await watcher?.stop();
    await site?.stop();
  });

  /** HAProxy's servers that take new sessions, seen again and again until `stop`: never two at a time. */
  function balancerWatch() {
    let stopped = false;
    const twice: string[] = [];
    const looking = (async () => {
      while (!stopped) {
        const up = [...(await balancerStates(site))]
          .filter(([, state]) => state.startsWith("UP"))
          .map(([name]) => name);
        if (up.length > 1) twice.push(up.join(" and "));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    cleanUp.push(async () => {
      stopped = true;
      await looking.catch(() => undefined);
    });
    return async () => {
      stopped = true;
      await looking;
      assert.deepEqual(twice, [], "two nodes take new sessions at the balancer");
    };
  }

  function loginProbe(): LoginProbe {
    const probe = new LoginProbe((_, deadlineMs) => partner.raw({ replyMs: deadlineMs }));
    cleanUp.push(() => probe.abandon());
    return probe;
  }

  const others = (not: number) => [0, 1, 2].filter((index) => index !== not);

  /** Ends the active node with a signal; resolves when another one has taken over and partners are served. */
  async function takenOverAfter(signal: "SIGKILL" | "SIGSTOP", what: string): Promise<{ former: number; pid: number }> {
    const former = await activeNode(site);
    const oneAtATime = balancerWatch();
    const probe = loginProbe();
    await until("logins go on", () => probe.count > 3);
    const sent = traffic.files;
    const begun = performance.now();
    const pid = site.killNode(former, signal);
    const next = await activeNode(site, others(former)[0], former);
    const heldMs = performance.now() - begun;
    await until("files are sent again", () => traffic.files > sent + 1, { deadlineMs: 60_000 });
    const { worstMs } = await probe.stop(begun);
    assert.equal((await activeNow(site, next)).active?.how, "takeover");
    report(
      `${what}: another node active after ${(heldMs / 1_000).toFixed(1)} s; slowest login ${(worstMs / 1_000).toFixed(1)} s`,
    );
    assert.ok(worstMs < TAKEOVER_MS, `no login for ${worstMs.toFixed(0)} ms`);
    await oneAtATime();
    return { former, pid };
  }

  test("kill -9: another node takes over, and the one that comes back stays passive", {
    timeout: 180_000,
  }, async () => {
    const { former } = await takenOverAfter("SIGKILL", "kill -9 of the active node");
    const now = await activeNode(site, others(former)[0]);
    await site.startNode(former);
    assert.equal(await stateOf(site, former), "passive");
    assert.equal(await takes(partner, former), false);
    assert.equal(await activeNode(site), now, "no failback");
  });

  test("a silent death, and its return: at every moment one node serves", { timeout: 180_000 }, async () => {
    const { former, pid } = await takenOverAfter("SIGSTOP", "the active node stands still (SIGSTOP)");
    const now = await activeNode(site, others(former)[0]);
    const oneAtATime = balancerWatch();
    const probe = loginProbe();
    const begun = performance.now();
    process.kill(pid, "SIGCONT");
    for (let looks = 0; looks <= 3 || performance.now() - begun < AFTER_MS; looks++) {
      assert.equal(await takes(partner, former), false, "the woken node lets nobody in, not for a moment");
      assert.equal(((await site.sessionsByNode()).get(site.node(former).name) ?? 0) > 0, false);
    }
    await until("it is passive", async () => (await stateOf(site, former)) === "passive");
    assert.equal((await fetch(`${site.node(former).adminUrl}/health/serving`)).status, 503);
    const { worstMs } = await probe.stop(begun);
    report(`it wakes up again: slowest login ${worstMs.toFixed(0)} ms`);
    await oneAtATime();
    assert.equal(await activeNode(site), now, "no failback");
  });

  test("failback is a command", async () => {
    const now = await activeNode(site);
    const [to = 0] = others(now);
    await site.admin("/api/v1/cluster/active/switch", { method: "POST", body: { to: site.node(to).name } });
    await until("it is the active one", async () => (await activeNode(site, undefined, now)) === to);
  });

  test("the store is away: the last active node goes on, the passive ones don't begin, and nothing changes after", {
    timeout: 120_000,
  }, async () => {
    const { active } = await activeNow(site);
    const index = indexOf(site, active?.name ?? "");
    const pid = site.endpoints().etcd?.pid;
    assert.ok(typeof pid === "number");
    process.kill(pid, "SIGSTOP");
    try {
      for (const each of [0, 1, 2]) {
        await until("it is cut off", async () => (await stateOf(site, each)) === "cut-off", { deadlineMs: 20_000 });
      }
      const session = await until("a login through the last resort", () => partner.raw(), { deadlineMs: 10_000 });
      assert.equal(await takes(partner, index), true);
      assert.ok((await session.list("/traffic")).length > 0, "partners can read");
      await session.end();
      // The former one, when the store went away right after a switch, for at most ten seconds.
      await until(
        "nobody else takes partners",
        async () => {
          const taken = await Promise.all(others(index).map((each) => takes(partner, each)));
          return !taken.some(Boolean);
        },
        { deadlineMs: 20_000 },
      );
    } finally {
      process.kill(pid, "SIGCONT");
    }
    for (const each of [0, 1, 2]) {
      await until("all are back", async () => ["ready", "passive"].includes((await stateOf(site, each)) ?? ""), {
        deadlineMs: 30_000,
      });
    }
    await activeNode(site);
  });

  test("at the end every acknowledged file is there, only whole files were seen, no partial was short", async () => {
    await traffic.stop();
    await watcher.stop();
    const reader = await partner.raw();
    await ledger.checkAll(reader);
    await reader.end();
    watcher.sawOnlyWholeFiles();
    assert.deepEqual(traffic.lost, []);
    assert.ok(watcher.looks > 0 && traffic.resumed > 0, `${watcher.looks} looks, ${traffic.resumed} resumed`);
    await nothingPending(site);
    report(`${ledger.size} files sent meanwhile, ${traffic.resumed} of them resumed`);
  });
});
