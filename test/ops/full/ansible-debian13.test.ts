import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { ensureClients } from "../../support/clients/install.js";
import { sftp } from "../../support/clients/openssh.js";
import { Partner } from "../../support/clients/partner.js";
import { report, succeeded } from "../../support/clients/run.js";

/** Debian 13 on the machines and on the controller, whose Ansible is much stricter; the machines know each other by IPv6. */

const MACHINES = ["m1", "m2", "m3"];

describe("a site on machines with Debian 13, by IPv6", () => {
  let site: AnsibleSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.prepare({
      etcd: MACHINES,
      nodes: MACHINES,
      balancers: ["m1", "m2"],
      monitoring: ["m3"],
      lab: { suite: "trixie", controller: "trixie", ipv6: true },
    });
  });
  after(async () => {
    await site?.stop();
  });

  test("a check of fresh machines changes nothing and says nothing wrong", async () => {
    await site.play("site", "--check", "--diff");
    assert.equal(await site.lab.sh("m1", "ls -d /etc/longshore 2>/dev/null || true"), "");
  });

  test("site.yml installs it, and partners come in by either family", async () => {
    await site.play("site");
    await site.open();
    partner = await Partner.add(site, "ops");
    succeeded(await sftp(partner, ["mkdir in", "ls"]));
    const [six = "", four = ""] = site.lab.virtualAddresses;
    assert.match(six, /:/);
    await site.open(four);
    succeeded(await sftp(partner, ["ls in"]));
    await site.open(six);
  });

  test("a second run changes nothing", async () => {
    assert.deepEqual(site.changes(await site.play("site")), []);
  });

  test("the operator's other playbooks work", async () => {
    await site.play("status");
    await site.play("backup");
    await site.play("rotate_secrets");
    await site.play("rotate_certificates");
    await site.play("remove_node", "-e", "longshore_node=m3");
    await site.play("add_node", "-e", "longshore_node=m3");
  });

  test("a silent balancer: the address moves", async () => {
    const [holder = ""] = await site.holders();
    site.lab.pullCable(holder);
    const begun = performance.now();
    await until(
      "a login",
      async () => (await sftp(partner, ["ls"], { settings: ["ConnectTimeout=1"], deadlineMs: 5_000 })).code === 0,
      { deadlineMs: 30_000 },
    );
    report(`balancer silent: a login after ${(performance.now() - begun).toFixed(0)} ms`);
    site.lab.plugIn(holder);
  });

  test("uninstall leaves nothing running", async () => {
    await site.play("uninstall", "-e", "longshore_confirm=harbour");
    for (const machine of MACHINES) assert.equal(await site.lab.sh(machine, "docker ps --quiet"), "");
  });
});
