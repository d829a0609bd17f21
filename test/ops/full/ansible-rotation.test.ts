import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { AnsibleSite } from "../../support/ansible-site.js";
import { bytes, sha256 } from "../../support/clients/content.js";
import { ensureClients } from "../../support/clients/install.js";
import { sftp } from "../../support/clients/openssh.js";
import { Partner } from "../../support/clients/partner.js";
import { report, succeeded } from "../../support/clients/run.js";
import { told } from "../../support/machines-plan.js";

/** Certificates, authority and secrets of a site are replaced while partners work; it is backed up and restored. */

const MACHINES = ["m1", "m2", "m3"];
const SESSIONS = 6;
const MIB = 1024 * 1024;

describe("rotation on machines", () => {
  let site: AnsibleSite;
  let partner: Partner;

  before(async () => {
    ensureClients("sftp", "ssh-keygen");
    site = await AnsibleSite.install({
      etcd: MACHINES,
      nodes: MACHINES,
      balancers: ["m1", "m2"],
      monitoring: ["m3"],
    });
    partner = await Partner.add(site, "ops");
  });
  after(async () => {
    await site?.stop();
  });

  /** What `openssl s_client` is shown at a port of a machine, by its fingerprint. */
  const shown = (machine: string, port: number) =>
    site.lab.sh(
      machine,
      `openssl s_client -connect ${site.lab.address(machine)}:${port} -cert /etc/longshore/tls/etcd.pem -key /etc/longshore/tls/etcd.pem </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256`,
    );
  const allShown = () => Promise.all(MACHINES.flatMap((machine) => [shown(machine, 8080), shown(machine, 2379)]));
  const ready = () =>
    until(
      "all nodes are ready",
      async () => (await site.nodes()).filter(({ state }) => state === "ready").length === 3,
      {
        deadlineMs: 60_000,
        everyMs: 500,
      },
    );

  /** When the nodes' processes began: none of them is restarted for a file. */
  const started = () =>
    Promise.all(
      MACHINES.map((machine) => site.lab.sh(machine, "docker inspect --format '{{.State.StartedAt}}' longshore-node")),
    );

  /** Sessions that send and fetch back, one file after the other, until the work is done. Nothing is tried twice. */
  async function underLoad<T>(name: string, work: () => Promise<T>): Promise<T> {
    let going = true;
    let transfers = 0;
    const faults: string[] = [];
    const session = async (index: number) => {
      for (let round = 0; going; round++) {
        const path = `/${name}-${index}-${round}`;
        const content = bytes(MIB, path);
        try {
          const raw = await partner.raw({ replyMs: 30_000, deadlineMs: 120_000 });
          try {
            await raw.put(path, content);
            const back = await raw.get(path);
            if (sha256(back) !== sha256(content)) faults.push(`${path}: another content came back`);
            transfers += 2;
          } finally {
            await raw.end();
          }
        } catch (error) {
          faults.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    };
    const sessions = Array.from({ length: SESSIONS }, (_, index) => session(index));
    try {
      return await work();
    } finally {
      going = false;
      await Promise.all(sessions);
      report(`${name}: ${transfers} transfers, ${faults.length} failed`);
      assert.deepEqual(faults, [], name);
      assert.ok(transfers >= SESSIONS * 2);
    }
  }

  test("every certificate is made anew, and no transfer fails", async () => {
    const before = await allShown();
    const since = await started();
    const session = await partner.raw({ deadlineMs: 1_200_000 });
    await underLoad("certificates", () => site.play("rotate_certificates"));
    const now = await allShown();
    assert.deepEqual(await started(), since);
    await session.put("/of-a-session-from-before", bytes(MIB, "before"));
    await session.end();
    assert.ok(
      now.every((fingerprint, index) => fingerprint !== "" && fingerprint !== before[index]),
      now.join("\n"),
    );
    await ready();
    assert.deepEqual(site.changes(await site.play("site")), []);
  });

  test("the site gets a new authority, and no transfer fails", async () => {
    const old = readFileSync(site.secret("ca.pem"), "utf8");
    const since = await started();
    await underLoad("authority", () => site.play("rotate_certificates", "-e", "longshore_new_authority=true"));
    const now = readFileSync(site.secret("ca.pem"), "utf8");
    assert.notEqual(now, old);
    for (const machine of MACHINES) {
      const trusted = await site.lab.sh(machine, "cat /etc/longshore/tls/ca.pem");
      assert.equal(trusted.trim(), now.trim());
    }
    assert.deepEqual(await started(), since);
    await ready();
    assert.deepEqual(site.changes(await site.play("site")), []);
  });

  test("cluster key and admin token are replaced, and no transfer fails", async () => {
    const before = { key: readFileSync(site.secret("cluster-key"), "utf8"), token: adminToken() };
    const since = await started();
    await underLoad("secrets", () => site.play("rotate_secrets"));
    assert.deepEqual(await started(), since);
    assert.notEqual(readFileSync(site.secret("cluster-key"), "utf8"), before.key);
    assert.notEqual(adminToken(), before.token);
    await ready();
    const rings = (await site.admin("/api/v1/nodes")) as { nodes: { sealKeys: string[] }[] };
    assert.deepEqual(new Set(rings.nodes.map(({ sealKeys }) => sealKeys.length)), new Set([1]));
    assert.equal(new Set(rings.nodes.map(({ sealKeys }) => sealKeys[0])).size, 1);
    // The host keys that partners know are sealed with it: a login with the known_hosts of before must do.
    succeeded(await sftp(partner, ["ls"]));
    assert.deepEqual(site.changes(await site.play("site")), []);
  });

  test("a backup brings back an account that was removed", async () => {
    await site.play("backup");
    const directory = join(dirname(site.inventory), "backups");
    const [file = ""] = readdirSync(directory);
    await site.admin("/api/v1/accounts/ops", { method: "DELETE" });
    const refused = await site.lab.playbook(site.inventory, "restore", [
      "-e",
      `longshore_backup_file=${join(directory, file)}`,
    ]);
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /-e longshore_confirm=harbour/);
    const args = ["-e", `longshore_backup_file=${join(directory, file)}`, "-e", "longshore_confirm=harbour"];
    const dry = await site.play("restore", ...args, "--check");
    assert.match(told(dry), /\+ config\/accounts\/ops/);
    await site.play("restore", ...args);
    await until("the account is back", async () => (await sftp(partner, ["ls"])).code === 0);
    assert.equal(await site.lab.sh("m1", "ls /run | grep longshore-backup || true"), "");
  });

  test("Prometheus sees everything, by certificates that it checks", async () => {
    await until(
      "every target is up",
      async () => {
        const answer = await site.lab.sh(
          "m3",
          "curl --silent --fail 'http://127.0.0.1:9090/api/v1/query?query=sum+by+(job)(up)'",
        );
        const rows = (
          JSON.parse(answer) as { data: { result: { metric: { job: string }; value: [number, string] }[] } }
        ).data.result;
        const seen = Object.fromEntries(rows.map(({ metric, value }) => [metric.job, Number(value[1])]));
        assert.deepEqual(seen, { longshore: 3, haproxy: 2, etcd: 3, prometheus: 1, alertmanager: 1 });
        return true;
      },
      { deadlineMs: 60_000, everyMs: 1_000 },
    );
  });

  const adminToken = () => readFileSync(site.secret("admin-token"), "utf8");
});
