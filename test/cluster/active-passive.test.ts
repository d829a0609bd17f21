import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { activeNode, activeNow, balancerStates, indexOf, setMode, stateOf, takes } from "../support/active.js";
import { bytes } from "../support/clients/content.js";
import { Ledger } from "../support/clients/ledger.js";
import { LoginProbe } from "../support/clients/login-probe.js";
import { Partner } from "../support/clients/partner.js";
import { Open, type RawSftp } from "../support/clients/raw-sftp.js";
import { report } from "../support/clients/run.js";
import { longshore, type Site, startSite } from "../support/site.js";

/** The mode active-passive in a whole site: HAProxy, etcd, three nodes, partners through the balancer. */

const MIB = 1024 * 1024;
const CONTENT = bytes(8 * MIB, "a long upload");
const PIECE = 32_768;

describe("a site in the mode active-passive", () => {
  let site: Site;
  let partner: Partner;
  const ledger = new Ledger();
  let probes: LoginProbe[] = [];

  before(async () => {
    site = await startSite({ mode: "active-passive", restart: false });
    partner = await Partner.add(site, "warm");
  });
  afterEach(async () => {
    await Promise.all(probes.map((probe) => probe.abandon()));
    probes = [];
  });
  after(async () => {
    await site?.stop();
  });

  const cli = async (...args: string[]) => {
    const { code, stdout, stderr } = await longshore([...args, "--dir", site.directory]);
    return { code, stdout, stderr, json: () => JSON.parse(stdout) as Record<string, unknown> };
  };
  const name = (index: number) => site.node(index).name;

  function loginProbe(): LoginProbe {
    const probe = new LoginProbe((_, deadlineMs) => partner.raw({ replyMs: deadlineMs }));
    probes.push(probe);
    return probe;
  }

  /** An upload that goes on, slowly, and isn't whole before `finish`, however long that takes to come. */
  async function slowUpload(session: RawSftp, path: string) {
    const handle = await session.open(path, Open.W | Open.C | Open.T);
    let at = 0;
    let hurry: () => void = () => undefined;
    const hurried = new Promise<void>((resolve) => {
      hurry = resolve;
    });
    const run = (async () => {
      while (at < CONTENT.length) {
        const end = Math.min(at + PIECE, CONTENT.length);
        if (end === CONTENT.length) await hurried;
        await session.write(handle, at, CONTENT.subarray(at, end));
        at = end;
        await Promise.race([hurried, new Promise((resolve) => setTimeout(resolve, 25))]);
      }
      await session.close(handle);
      ledger.acknowledged(path, CONTENT);
    })();
    return {
      finish: async () => {
        hurry();
        await run;
      },
    };
  }

  test("one node takes partners; the others are warm, fail the balancer's check, and say so when somebody comes directly", async () => {
    const active = await activeNode(site);
    await until("the others are DOWN at the balancer", async () => {
      const states = await balancerStates(site);
      return [0, 1, 2].every((index) => (states.get(name(index)) === "UP") === (index === active));
    });
    for (const index of [0, 1, 2].filter((each) => each !== active)) {
      assert.equal(await stateOf(site, index), "passive");
      // A site's mode is set when its nodes are there: for a moment those that become passive still let partners in.
      await until("it fails the balancer's check", async () => {
        return (await fetch(`${site.node(index).adminUrl}/health/serving`)).status === 503;
      });
      assert.equal((await fetch(`${site.node(index).adminUrl}/health/ready`)).status, 200, "nothing is missing");
      assert.equal(await takes(partner, index), false);
      assert.match(await greetingOf(site, index), /^This node is passive: connect to the site's own address\.\r\n$/);
    }
    assert.equal(await takes(partner, active), true);
    const { stdout } = await cli("status");
    assert.match(stdout, /^3 nodes, 1 ready, 2 passive/);
    assert.match(stdout, /no faults/);
    assert.match(stdout, new RegExp(`^${name(active)} +ready +active`, "m"));
    const metrics = await (await fetch(site.node(active).metricsUrl)).text();
    assert.match(metrics, /^longshore_active 1$/m);
    assert.match(metrics, /^longshore_active_takeovers_total\{how="first"\} [01]$/m);
  });

  test("a planned switch under running uploads: none fails, and new sessions wait for nothing", {
    timeout: 120_000,
  }, async () => {
    const former = await activeNode(site);
    // Not the first of the order, which the next test looks at; on a busy machine another one may have been ready before it.
    const to = former === 1 ? 2 : 1;
    const sessions = await Promise.all(Array.from({ length: 6 }, () => partner.raw()));
    const uploads = await Promise.all(sessions.map((session, i) => slowUpload(session, `/switched-${i}`)));
    const idle = await partner.raw();
    const probe = loginProbe();
    await until("logins go on", () => probe.count > 5);

    const dry = await cli("active", "switch", "--to", name(to), "--dry-run", "-o", "json");
    assert.deepEqual([dry.code, dry.json().to, dry.json().switched], [0, name(to), false], dry.stderr);
    assert.equal((await activeNow(site)).active?.name, name(former));

    const begun = performance.now();
    const waiting = cli("active", "switch", "--to", name(to), "--wait", "-o", "json");
    await activeNode(site, undefined, former);
    const activeMs = performance.now() - begun;
    await until(
      "new sessions come to the new one alone",
      async () => (await site.sessionsByNode()).get(name(to)) !== 0,
    );
    await until("the former one takes nobody", async () => !(await takes(partner, former)), { deadlineMs: 20_000 });
    // The balancer asks now and then; the node itself knew first.
    await until("its sessions go on", async () => (await balancerStates(site)).get(name(former)) === "DRAIN (agent)");
    const { worstMs, medianMs, logins } = await probe.stop(begun);
    assert.equal(idle.isGone, false, "while transfers run nobody is ended");
    for (const upload of uploads) await upload.finish();
    const switched = await waiting;
    assert.equal(switched.code, 0, switched.stderr);
    const { from, drained, switched: done } = switched.json();
    assert.deepEqual({ from, drained, done }, { from: name(former), drained: true, done: true });
    await until("the idle session is ended", () => idle.isGone);
    await until("the former one is DOWN", async () =>
      (await balancerStates(site)).get(name(former))?.startsWith("DOWN"),
    );
    report(
      `planned switch: the new node ready after ${activeMs.toFixed(0)} ms; ${logins} logins meanwhile, median ${medianMs.toFixed(0)} ms, worst ${worstMs.toFixed(0)} ms`,
    );
    const reader = await partner.raw();
    await ledger.checkAll(reader);
    await reader.end();
    assert.equal(ledger.size, 6, "no upload failed");
  });

  test("the same files and the same configuration on the new one, and no failback", async () => {
    const active = await activeNode(site);
    const session = await partner.raw();
    await session.put("/afterwards", CONTENT.subarray(0, 100_000));
    assert.ok((await session.get("/switched-0")).equals(CONTENT));
    await session.end();
    const first = (await cli("active", "show", "-o", "json")).json() as { nodes: { name: string; active: boolean }[] };
    assert.equal(first.nodes[0]?.name, "node-1", "it is the first that would take over");
    assert.equal(first.nodes[0]?.active, false);
    assert.equal(await activeNode(site), active, "and stays passive");
    const again = await cli("active", "switch", "--to", name(active), "-o", "json");
    assert.deepEqual([again.code, again.json().switched], [0, false], "switching to the active one does nothing");
    assert.equal((await cli("active", "switch", "--to", "nobody")).code, 3);
  });

  test("the order that the settings give decides; draining the active node hands over at once", async () => {
    const active = await activeNode(site);
    const [last = 0, next = 0] = [0, 1, 2].filter((index) => index !== active);
    const order = `${name(next)},${name(last)}`;
    const set = await cli("site", "set", "--active-order", order, "-o", "json");
    assert.equal(set.code, 0, set.stderr);
    assert.equal(set.json().changed, true);
    await site.converged(Number(set.json().revision));
    assert.equal((await cli("site", "set", "--active-order", order, "-o", "json")).json().changed, false);
    assert.equal((await cli("site", "set")).code, 2, "nothing is given");
    await site.admin(`/api/v1/nodes/${name(active)}/drain`, { method: "POST" });
    assert.equal(await activeNode(site, undefined, active), next);
    assert.equal((await activeNow(site)).active?.how, "handover");
    const refused = await cli("active", "switch", "--to", name(active));
    assert.equal(refused.code, 6, refused.stderr);
    assert.match(refused.stderr, /is draining.*can't take over now/);
    await site.admin(`/api/v1/nodes/${name(active)}/undrain`, { method: "POST" });
    await until("it is passive again", async () => (await stateOf(site, active)) === "passive");
    assert.equal(await activeNode(site), next);
  });

  test("the mode is changed at run time, to and fro, and no transfer is lost", { timeout: 120_000 }, async () => {
    await setMode(site, { mode: "active-active" });
    for (const index of [0, 1, 2]) await site.nodeReady(index);
    await until("all take partners", async () => {
      const taken = await Promise.all([0, 1, 2].map((index) => takes(partner, index)));
      return taken.every(Boolean);
    });
    assert.equal((await activeNow(site)).active, null);
    assert.equal((await cli("active", "switch")).code, 6);
    const sessions = await Promise.all([0, 1, 2].map((index) => partner.rawOn(index)));
    const uploads = await Promise.all(sessions.map((session, i) => slowUpload(session, `/mode-${i}`)));
    const probe = loginProbe();
    await until("logins go on", () => probe.count > 5);
    const begun = performance.now();
    await setMode(site, { mode: "active-passive" });
    const active = await activeNode(site);
    for (const index of [0, 1, 2].filter((each) => each !== active)) {
      await until(`${name(index)} takes nobody`, async () => !(await takes(partner, index)), { deadlineMs: 20_000 });
    }
    const { worstMs } = await probe.stop(begun);
    report(`active-active to active-passive: slowest login ${worstMs.toFixed(0)} ms`);
    for (const upload of uploads) await upload.finish();
    const reader = await partner.raw();
    await ledger.checkAll(reader);
    await reader.end();
    assert.equal(ledger.size, 9);
  });

  test("the record holds who became the active node and how", async () => {
    const active = indexOf(site, (await activeNow(site)).active?.name ?? "");
    await until("it is recorded", async () => {
      const { code, stdout } = await cli("audit", "search", "--kind", "active", "-o", "json");
      return code === 0 && stdout.includes('"taken"') && stdout.includes('"switch"') && stdout.includes(name(active));
    });
  });
});

/** What a node sends to a partner who comes past the balancer, up to its end. */
function greetingOf(site: Site, index: number): Promise<string> {
  const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
  const address = Buffer.from([192, 0, 2, 9, 127, 0, 0, 1, 0x10, 0, 0, 22]);
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(site.node(index).sftpPort, "127.0.0.1", () =>
      socket.write(Buffer.concat([signature, Buffer.from([0x21, 0x11, 0, address.length]), address])),
    );
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
    });
    socket.once("error", reject);
    socket.once("close", () => resolve(text));
  });
}
