import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { sha256, sha256OfFileSync, writeContent } from "../../support/clients/content.js";
import { ensureClients } from "../../support/clients/install.js";
import { sftp } from "../../support/clients/openssh.js";
import { Partner } from "../../support/clients/partner.js";
import { report, succeeded } from "../../support/clients/run.js";

/** The storage that the playbooks build themselves: a GlusterFS volume on the disks of three machines. */

const MACHINES = ["m1", "m2", "m3"];
const MIB = 1024 * 1024;

describe("a site whose storage is a GlusterFS volume", () => {
  let site: AnsibleSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.install({
      etcd: MACHINES,
      nodes: MACHINES,
      balancers: ["m1", "m2"],
      lab: { sharedStorage: false },
      vars: { longshore_storage_kind: "glusterfs" },
    });
    partner = await Partner.add(site, "ops");
  });
  after(async () => {
    await site?.stop();
  });

  test("each machine has a copy of what a partner sent", async () => {
    writeContent(partner.local("one"), 8 * MIB);
    succeeded(await sftp(partner, ["put one"]));
    const sizes = await Promise.all(
      MACHINES.map((machine) => site.lab.sh(machine, "find /var/lib/longshore-brick -name one -size +8000k | wc -l")),
    );
    assert.deepEqual(sizes, ["1", "1", "1"]);
  });

  test("a machine is silent: what was acknowledged is there, and more can be sent", async () => {
    const content = writeContent(partner.local("two"), 4 * MIB);
    const holders = await site.holders();
    // With its copy a balancer goes, a node and a member of etcd.
    const victim = holders[0] ?? "m1";
    site.lab.pullCable(victim);
    const begun = performance.now();
    const sent = await until(
      "an upload",
      async () => {
        const outcome = await sftp(partner, ["put two"], { settings: ["ConnectTimeout=2"], deadlineMs: 20_000 });
        return outcome.code === 0 ? outcome : undefined;
      },
      { deadlineMs: 90_000 },
    );
    report(`${victim} silent: an upload was acknowledged after ${((performance.now() - begun) / 1000).toFixed(1)} s`);
    assert.equal(sent.code, 0);
    site.lab.plugIn(victim);
    await until(
      "all nodes are ready",
      async () => (await site.nodes("m3")).filter(({ state }) => state === "ready").length === 3,
      { deadlineMs: 90_000, everyMs: 500 },
    );
    succeeded(await sftp(partner, ["get one one.back", "get two two.back"]));
    assert.equal(sha256OfFileSync(partner.local("two.back")), sha256(content));
    assert.equal(sha256OfFileSync(partner.local("one.back")), sha256OfFileSync(partner.local("one")));
  });

  test("a second run changes nothing", async () => {
    assert.deepEqual(site.changes(await site.play("site")), []);
  });
});
