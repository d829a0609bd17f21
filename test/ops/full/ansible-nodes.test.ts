import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { sha256, sha256OfFileSync, writeContent } from "../../support/clients/content.js";
import { ensureClients } from "../../support/clients/install.js";
import { sftp, startSftp } from "../../support/clients/openssh.js";
import { Partner } from "../../support/clients/partner.js";
import { report, succeeded, tell } from "../../support/clients/run.js";
import { told } from "../../support/machines-plan.js";

/** Nodes come and go, balancers and nodes die: on machines, with the playbooks that an operator uses. */

const MACHINES = ["m1", "m2", "m3"];
const MIB = 1024 * 1024;
/** The virtual address is elsewhere in that time (P8). */
const MOVED_MS = 3_000;

describe("nodes of a site on machines", () => {
  let site: AnsibleSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.install({ etcd: MACHINES, nodes: MACHINES, balancers: ["m1", "m2"], spare: ["m4"] });
    partner = await Partner.add(site, "ops");
  });
  after(async () => {
    await site?.stop();
  });

  /** How long until partners get a login again, from now. */
  async function gap(): Promise<number> {
    const begun = performance.now();
    await until(
      "a login",
      async () => (await sftp(partner, ["ls"], { settings: ["ConnectTimeout=1"], deadlineMs: 5_000 })).code === 0,
      { deadlineMs: 30_000 },
    );
    return performance.now() - begun;
  }

  test("add_node: an upload that runs meanwhile isn't cut, and the new node serves", async () => {
    site.write({ longshore_nodes: [...MACHINES, "m4"] });
    const content = writeContent(partner.local("long"), 24 * MIB);
    // Some 100 s: longer than the playbook.
    const upload = startSftp(partner, ["put long", "get long back"], { limit: 2_000, deadlineMs: 600_000 });
    await site.play("add_node", "-e", "longshore_node=m4");
    const done = await upload.outcome;
    assert.equal(done.code, 0, tell(done));
    assert.equal(sha256OfFileSync(partner.local("back")), sha256(content));
    const added = (await site.nodes()).find(({ name }) => name === "m4");
    assert.equal(added?.state, "ready");
  });

  test("site.yml has nothing to add to that", async () => {
    const outcome = await site.play("site");
    // The older nodes and the monitoring learn of the new machine by themselves or by add_node.
    assert.deepEqual(site.changes(outcome), []);
  });

  test("remove_node: its sessions end by themselves, and nobody is sent there any more", async () => {
    await site.play("remove_node", "-e", "longshore_node=m4");
    site.write();
    await until("it is gone from the list", async () => !(await site.nodes()).some(({ name }) => name === "m4"), {
      deadlineMs: 30_000,
    });
    const { stdout } = await site.lab.exec("m4", "systemctl", "is-active", "longshore-node.service");
    assert.equal(stdout.trim(), "inactive");
    assert.doesNotMatch(await site.lab.sh("m1", "cat /etc/longshore/balancer/haproxy.cfg"), / m4 /);
    succeeded(await sftp(partner, ["ls"]));
  });

  test("status tells how the site is", async () => {
    const outcome = await site.play("status");
    assert.match(outcome.stdout, /longshore-node: active \(running\)/);
    assert.match(outcome.stdout, new RegExp(`has ${site.virtualAddress.replaceAll(".", "\\.")}`));
  });

  test("a balancer's machine dies silently: the virtual address moves in time", async () => {
    const [holder = ""] = await site.holders();
    site.lab.pullCable(holder);
    const begun = performance.now();
    const other = holder === "m1" ? "m2" : "m1";
    await until(
      "the other one has the address",
      async () =>
        (await site.lab.exec(other, "ip", "-o", "address", "show")).stdout.includes(`${site.virtualAddress}/`),
      { deadlineMs: 10_000, everyMs: 50 },
    );
    const moved = performance.now() - begun;
    const served = moved + (await gap());
    report(`balancer silent: address moved after ${moved.toFixed(0)} ms, a login after ${served.toFixed(0)} ms`);
    assert.ok(moved < MOVED_MS, `${moved} ms`);
    site.lab.plugIn(holder);
    await until("one balancer has the address", async () => (await site.holders()).length === 1, {
      deadlineMs: 15_000,
    });
    await until(
      "all nodes are ready",
      async () => (await site.nodes("m3")).filter((n) => n.state === "ready").length === 3,
      {
        deadlineMs: 60_000,
        everyMs: 500,
      },
    );
  });

  test("HAProxy alone dies: the address moves to the balancer that works", async () => {
    const [holder = ""] = await site.holders();
    const other = holder === "m1" ? "m2" : "m1";
    // Stopped, not killed: systemd would have it back within a second.
    await site.lab.sh(holder, "systemctl stop longshore-balancer.service");
    const begun = performance.now();
    await until("the other one has the address", async () => (await site.holders())[0] === other, {
      deadlineMs: 10_000,
      everyMs: 50,
    });
    const moved = performance.now() - begun;
    report(`HAProxy stopped: address moved after ${moved.toFixed(0)} ms`);
    assert.ok(moved < MOVED_MS, `${moved} ms`);
    // site.yml puts right what isn't as it should be.
    const mended = await site.play("site", "--tags", "balancer");
    assert.ok(site.changes(mended).every((change) => change.includes("Start the balancer")));
    assert.equal((await site.holders())[0], other, "who has the address keeps it");
  });

  test("a node is killed: new partners don't notice, and systemd starts it again", async () => {
    await site.lab.sh("m3", "docker kill longshore-node");
    const again = await gap();
    report(`node killed: a login after ${again.toFixed(0)} ms`);
    await until(
      "m3 is ready again",
      async () => (await site.nodes()).find(({ name }) => name === "m3")?.state === "ready",
      {
        deadlineMs: 60_000,
        everyMs: 250,
      },
    );
  });

  test("uninstall asks for the site's name, then removes all but the data", async () => {
    const refused = await site.lab.playbook(site.inventory, "uninstall");
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /-e longshore_confirm=harbour/);
    await site.play("uninstall", "-e", "longshore_confirm=harbour");
    for (const machine of MACHINES) {
      assert.equal(await site.lab.sh(machine, "docker ps --quiet"), "");
      assert.equal(await site.lab.sh(machine, "ls /etc/systemd/system | grep longshore || true"), "");
      assert.match(await site.lab.sh(machine, "ls /var/lib/longshore-etcd"), /member/);
    }
    assert.match(await site.lab.sh("m1", "ls /srv/longshore"), /ops/);
  });
});
