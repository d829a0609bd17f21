import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { AnsibleSite } from "../support/ansible-site.js";
import { sha256, sha256OfFileSync, writeContent } from "../support/clients/content.js";
import { ensureClients } from "../support/clients/install.js";
import { sftp } from "../support/clients/openssh.js";
import { Partner } from "../support/clients/partner.js";
import { succeeded } from "../support/clients/run.js";

/**
 * The smallest sensible active-active site on machines, by the real playbook over SSH: three machines, each with a member
 * of etcd and a node, two of them balancers. What takes longer is in `full/` (`npm run test:ops`).
 */

const MACHINES = ["m1", "m2", "m3"];
const MIB = 1024 * 1024;

describe("ansible-playbook site.yml", () => {
  let site: AnsibleSite;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.prepare({ etcd: MACHINES, nodes: MACHINES, balancers: ["m1", "m2"] });
  });
  after(async () => {
    await site?.stop();
  });

  test("--check on fresh machines goes through and changes nothing", async () => {
    const outcome = await site.play("site", "--check");
    assert.ok(outcome.changed > 0, "it tells what it would do");
    const { code } = await site.lab.exec("m1", "test", "-e", "/etc/longshore");
    assert.notEqual(code, 0, "/etc/longshore was made by a check");
    assert.equal(existsSync(site.secret("cluster-key")), false);
  });

  test("installs the site", async () => {
    await site.play("site");
    const nodes = await site.nodes();
    assert.deepEqual(
      nodes.map(({ name, state }) => ({ name, state })).sort((a, b) => (a.name < b.name ? -1 : 1)),
      [
        { name: "m1", state: "ready" },
        { name: "m2", state: "ready" },
        { name: "m3", state: "ready" },
      ],
    );
    assert.equal((await site.holders()).length, 1);
  });

  test("a partner's file goes in and out through the virtual address", async () => {
    await site.open();
    const partner = await Partner.add(site, "ops");
    const content = writeContent(partner.local("sent"), 8 * MIB);
    succeeded(await sftp(partner, ["put sent", "get sent back"]));
    assert.equal(sha256OfFileSync(partner.local("back")), sha256(content));
  });

  test("the first account's key is the controller's alone, and logs in", async () => {
    const key = site.secret("accounts", "partner", "id_ed25519");
    assert.equal(statSync(key).mode & 0o777, 0o600);
    assert.match(readFileSync(`${key}.pub`, "utf8"), /^ssh-ed25519 /);
    const partner = await Partner.add(site, "other");
    writeContent(partner.local("hello"), 1000);
    succeeded(await sftp(partner, ["put hello"], { settings: [`IdentityFile=${key}`, "User=partner"] }));
  });

  test("a second run changes nothing", async () => {
    const outcome = await site.play("site");
    assert.deepEqual(site.changes(outcome), []);
    assert.equal(outcome.changed, 0);
  });
});
