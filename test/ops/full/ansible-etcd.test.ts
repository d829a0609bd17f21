import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { report, succeeded, tell } from "../../support/clients/run.js";
import { told } from "../../support/machines-plan.js";

/** The members of etcd on machines, without any node: installed, changed, backed up, and one of them lost. */

const MEMBERS = ["m1", "m2", "m3"];
const ENDPOINTS_HEALTHY = /is healthy/g;

describe("etcd on machines", () => {
  let site: AnsibleSite;

  before(async () => {
    site = await AnsibleSite.prepare({ etcd: MEMBERS, nodes: [], balancers: [] });
    await site.play("site", ...WITHOUT_NODES);
  });
  after(async () => {
    await site?.stop();
  });

  /** Three members and no node are no site that preflight would let pass. */
  const WITHOUT_NODES = ["--skip-tags", "preflight,storage,firewall"];
  const etcd = (machine: string, command: string) => site.lab.sh(machine, `longshore-etcd ${command}`);
  const get = (machine: string, key: string) => etcd(machine, `ctl get --print-value-only ${key}`);
  const startedAt = (machine: string) =>
    site.lab.sh(machine, "docker inspect -f '{{.State.StartedAt}}' longshore-etcd");
  const healthyMembers = async (machine: string) => {
    const { stdout, stderr } = await site.lab.exec(machine, "longshore-etcd", "ctl", "endpoint", "health", "--cluster");
    return `${stdout}${stderr}`.match(ENDPOINTS_HEALTHY)?.length ?? 0;
  };

  test("three members, healthy; a second run changes nothing", async () => {
    assert.equal(await healthyMembers("m1"), 3);
    await etcd("m1", "ctl put kept-by-all yes");
    assert.deepEqual(site.changes(await site.play("site", ...WITHOUT_NODES)), []);
  });

  test("nobody reads it without a certificate of the site's authority", async () => {
    const url = `https://${site.lab.address("m1")}:2379/health`;
    const without = await site.lab.exec("m2", "curl", "--silent", "--show-error", "--insecure", "--max-time", "5", url);
    assert.notEqual(without.code, 0, tell(without));
    const pair = ["--cert", "/etc/longshore/tls/etcd.pem", "--cacert", "/etc/longshore/tls/ca.pem"];
    const proper = await site.lab.exec("m2", "curl", "--silent", "--show-error", "--max-time", "5", ...pair, url);
    assert.match(succeeded(proper).stdout, /"true"/);
    const mode = await site.lab.sh("m1", "stat -c '%a %u' /etc/longshore/tls/etcd.pem");
    assert.equal(mode, "600 10001");
  });

  test("a snapshot is made by its timer's service and can be read back", async () => {
    await site.lab.sh("m2", "systemctl start longshore-etcd-snapshot.service");
    const file = await site.lab.sh("m2", "ls /var/lib/longshore-etcd-snapshots/*.db");
    assert.match(await etcd("m2", `ctl snapshot status ${file}`), /^[0-9a-f]+, \d+, \d+/m);
    assert.match(await site.lab.sh("m2", "systemctl list-timers --all --no-legend"), /longshore-etcd-snapshot\.timer/);
    assert.match(await etcd("m2", "defrag"), /nothing to do/);
  });

  test("a new setting restarts one member at a time, and the store goes on", async () => {
    const before = await Promise.all(MEMBERS.map(startedAt));
    let [writes, failed, longest, last] = [0, 0, 0, performance.now()];
    let going = true;
    const writing = (async () => {
      while (going) {
        // Any member may be the one that is down: the client tries the others.
        const endpoints = MEMBERS.map((member) => `https://${site.lab.address(member)}:2379`).join(",");
        const put = await site.lab.exec(
          "m1",
          ...`longshore-etcd ctl --endpoints ${endpoints} put beat ${writes}`.split(" "),
        );
        if (put.code === 0) {
          longest = Math.max(longest, performance.now() - last);
          last = performance.now();
          writes += 1;
        } else failed += 1;
      }
    })();
    const changed = ["--tags", "etcd", "-e", "longshore_etcd_memory=640m"];
    const outcome = await site.play("site", ...changed).finally(() => {
      going = false;
    });
    await writing;
    report(`restart of all members: ${writes} writes, ${failed} failed, longest gap ${longest.toFixed(0)} ms`);
    const restarts = site.changes(outcome).filter((change) => change.includes("one member at a time"));
    assert.equal(restarts.length, 3);
    const now = await Promise.all(MEMBERS.map(startedAt));
    const times = now.map((text) => Date.parse(text)).sort((a, b) => a - b);
    assert.ok(now.every((text, index) => text !== before[index]));
    assert.ok(
      times.every((time, index) => index === 0 || time - (times[index - 1] ?? 0) > 500),
      times.join(" "),
    );
    assert.equal(await healthyMembers("m1"), 3);
    assert.deepEqual(site.changes(await site.play("site", ...changed)), []);
  });

  test("no member is restarted while another one is down, and the run says what to do", async () => {
    await site.lab.sh("m3", "systemctl stop longshore-etcd.service");
    // m3's own part would start it again: the others only.
    const args = ["--tags", "etcd", "--limit", "m1,m2", "-e", "longshore_etcd_memory=704m"];
    const before = await startedAt("m1");
    const refused = await site.lab.playbook(site.inventory, "site", args);
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /isn't restarted while another member is unhealthy/);
    assert.equal(await startedAt("m1"), before);
    await site.lab.sh("m3", "systemctl start longshore-etcd.service");
    await until("all are healthy", async () => (await healthyMembers("m1")) === 3, { deadlineMs: 60_000 });
    // The next run does what that one couldn't.
    await site.play("site", "--tags", "etcd", "-e", "longshore_etcd_memory=704m");
    assert.notEqual(await startedAt("m1"), before);
  });

  test("a machine is lost with its disk: site.yml says so, replace_etcd_member puts a new one in its place", async () => {
    site.lab.destroy("m3");
    await site.lab.add("m3");
    site.write();
    const args = ["-e", "longshore_etcd_memory=704m"];
    const refused = await site.lab.playbook(site.inventory, "site", [...WITHOUT_NODES, ...args]);
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /replace_etcd_member\.yml -e longshore_member=m3/);
    assert.equal(await healthyMembers("m1"), 2);

    const begun = performance.now();
    await site.play("replace_etcd_member", "-e", "longshore_member=m3", ...args);
    report(`member replaced in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    assert.equal(await healthyMembers("m1"), 3);
    assert.equal(await get("m3", "kept-by-all"), "yes");
    assert.equal((await etcd("m1", "ctl member list")).split("\n").length, 3);
    await site.play("site", ...WITHOUT_NODES, ...args);
    assert.deepEqual(site.changes(await site.play("site", ...WITHOUT_NODES, ...args)), []);
  });

  test("a member that works isn't replaced by mistake", async () => {
    const refused = await site.lab.playbook(site.inventory, "replace_etcd_member", ["-e", "longshore_member=m2"]);
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /m2 is a healthy member/);
    assert.equal(await healthyMembers("m1"), 3);
  });
});
