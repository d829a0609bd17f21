import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { AnsibleSite } from "../../support/ansible-site.js";
import { Busy } from "../../support/clients/busy.js";
import { ensureClients } from "../../support/clients/install.js";
import { Partner } from "../../support/clients/partner.js";
import { report } from "../../support/clients/run.js";
import { IMAGE_TAG } from "../../support/compose.js";
import { told } from "../../support/machines-plan.js";

/** The playbooks `upgrade` and `rollback` on a site whose partners are at work. */

const MACHINES = ["m1", "m2", "m3"];
const NEXT = `${IMAGE_TAG}-next`;
const BROKEN = `${IMAGE_TAG}-broken`;
const PARTS = ["longshore", "etcd", "haproxy"];

describe("upgrade of a site at work", () => {
  let site: AnsibleSite;
  let partner: Partner;
  let before_: ReadonlyMap<string, string>;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.install({
      etcd: MACHINES,
      nodes: MACHINES,
      balancers: ["m1", "m2"],
      vars: { longshore_upgrade_ready_seconds: 40 },
    });
    partner = await Partner.add(site, "busy");
    before_ = await running();
  });
  after(async () => {
    await site?.stop();
    for (const part of [...PARTS, "prometheus", "alertmanager"])
      spawnSync("docker", ["rmi", `longshore/${part}:${NEXT}`, `longshore/${part}:${BROKEN}`]);
  });

  /** By machine: the image that its node runs. */
  async function running(): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const machine of MACHINES) found.set(machine, await imageOf(machine));
    return found;
  }

  const imageOf = (machine: string) => site.lab.sh(machine, "docker inspect --format '{{.Image}}' longshore-node");

  async function busy(t: TestContext): Promise<Busy> {
    const session = await partner.raw();
    await session.mkdir("in").catch(() => undefined);
    await session.end();
    const load = new Busy({ partner, directory: "in", short: 40, long: 10, longMs: 20_000 });
    // Also after a test that failed: it would keep the process.
    t.after(() => load.stop());
    return load;
  }

  /** Nobody lost anything, nobody was refused. */
  async function nobodyNoticed(load: Busy): Promise<void> {
    await load.stop();
    assert.deepEqual(load.failures, []);
    assert.ok(load.transfers > 100 && load.longTransfers > 10, `${load.transfers}, ${load.longTransfers}`);
    const session = await partner.raw();
    await load.ledger.checkNew(session);
    await session.end();
  }

  const ready = async () => (await site.nodes()).filter(({ state }) => state === "ready").length;

  test("50 sessions go on through a rolling upgrade, and a second run changes nothing", async (t) => {
    const load = await busy(t);
    const outcome = await site.play("upgrade", "-e", `longshore_version=${NEXT}`);
    await nobodyNoticed(load);
    report(
      `upgrade of 3 nodes under 50 sessions: ${(outcome.ms / 1000).toFixed(0)} s, ${load.transfers} transfers ` +
        `(${load.longTransfers} of 20 s), 0 failed, slowest small one ${load.slowestMs.toFixed(0)} ms`,
    );
    for (const [machine, image] of await running()) assert.notEqual(image, before_.get(machine), machine);
    assert.equal(await ready(), 3);
    const again = await site.play("upgrade", "-e", `longshore_version=${NEXT}`);
    assert.deepEqual(site.changes(again), []);
  });

  test("an image that doesn't start is put back by itself, and partners notice nothing", async (t) => {
    await loadBroken(site);
    const then = await running();
    const load = await busy(t);
    const args = ["-e", `longshore_version=${BROKEN}`, "-e", "longshore_image_source=present"];
    const outcome = await site.lab.playbook(site.inventory, "upgrade", args);
    await nobodyNoticed(load);
    assert.notEqual(outcome.code, 0);
    assert.match(told(outcome), /m1 is back at what it ran before, and serves; nodes after it weren't touched/);
    assert.match(told(outcome), /broken on purpose/, "the node's own last words");
    assert.deepEqual(await running(), then);
    assert.equal(await ready(), 3);
    report(
      `an upgrade to a broken image: back after ${(outcome.ms / 1000).toFixed(0)} s, ${load.transfers} transfers, 0 failed`,
    );
  });

  test("rollback brings back what ran before the upgrade", async (t) => {
    const load = await busy(t);
    const outcome = await site.play("rollback");
    await nobodyNoticed(load);
    report(`rollback of 3 nodes: ${(outcome.ms / 1000).toFixed(0)} s, ${load.transfers} transfers, 0 failed`);
    assert.deepEqual(await running(), before_);
    assert.equal(await ready(), 3);
    const again = await site.play("rollback");
    assert.deepEqual(site.changes(again), []);
  });

  test("a node that is down stops the upgrade before another one is touched, and the next run goes on", async () => {
    await site.lab.sh("m3", "systemctl stop longshore-node");
    const stopped = await site.lab.playbook(site.inventory, "upgrade", ["-e", `longshore_version=${NEXT}`]);
    assert.notEqual(stopped.code, 0);
    assert.match(told(stopped), /m1 wasn't touched, since m3 isn't ready .*: bring it back first/);
    assert.equal(await imageOf("m1"), before_.get("m1"));
    await site.lab.sh("m3", "systemctl start longshore-node");
    await site.play("upgrade", "-e", `longshore_version=${NEXT}`);
    assert.equal(await ready(), 3);
  });
});

/** An image whose node ends at once, on every machine. */
async function loadBroken(site: AnsibleSite): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "longshore-broken-"));
  try {
    const lines = [
      `FROM longshore/longshore:${IMAGE_TAG}`,
      "USER root",
      `RUN echo 'console.error("broken on purpose"); process.exit(1);' >/opt/longshore/dist/services/node/main.js`,
      "USER longshore",
    ];
    writeFileSync(join(work, "Dockerfile"), `${lines.join("\n")}\n`);
    const image = `longshore/longshore:${BROKEN}`;
    const quiet: { stdio: ("ignore" | number)[] } = { stdio: ["ignore", "ignore", 2] };
    execFileSync("docker", ["build", "--tag", image, work], {
      ...quiet,
      env: { ...process.env, DOCKER_BUILDKIT: "0" },
    });
    execFileSync("docker", ["save", "--output", join(work, "image.tar"), image], quiet);
    for (const machine of MACHINES) {
      const input = openSync(join(work, "image.tar"), "r");
      const load = ["exec", "-i", site.lab.container(machine), "docker", "load", "--quiet"];
      execFileSync("docker", load, { stdio: [input, "ignore", 2] });
      // A machine without a balancer has no image of it.
      for (const part of PARTS.slice(1)) {
        const [from, to] = [`longshore/${part}:${IMAGE_TAG}`, `longshore/${part}:${BROKEN}`];
        await site.lab.sh(
          machine,
          `if docker image inspect ${from} >/dev/null 2>&1; then docker tag ${from} ${to}; fi`,
        );
      }
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
