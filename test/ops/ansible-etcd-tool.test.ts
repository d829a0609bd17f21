import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { type Outcome, run, succeeded, tell } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";
import { ensurePackages } from "../support/packages.js";
import { freePort } from "../support/ports.js";

/**
 * `longshore-etcd`, which Ansible installs beside a member (roles/etcd), against real members with the settings and
 * certificates that Ansible gives them. `docker` and `systemctl` are stand-ins that run etcd and etcdctl of this host.
 */

const ROLES = join(ROOT, "ansible/roles");
const MEMBERS = ["m1", "m2", "m3", "m4"];
const FIRST = MEMBERS.slice(0, 3);

const DOCKER = `#!/bin/bash
if [ "$1" = image ]; then echo sha256:0; exit; fi
shift
while [ $# -gt 0 ]; do
  case $1 in
    --env) export "$2"; shift 2 ;;
    --entrypoint) shift 3; break ;;
    --volume | --user | --network | --log-driver | --cap-drop | --security-opt | --pids-limit | --ulimit | --tmpfs) shift 2 ;;
    *) shift ;;
  esac
done
exec etcdctl "$@"
`;

const SYSTEMCTL = `#!/bin/bash
cd "$LAB"
if [ -f "$MEMBER.pid" ]; then
  kill "$(cat "$MEMBER.pid")" && tail --pid="$(cat "$MEMBER.pid")" -f /dev/null
fi
sh "./$MEMBER/tool" note-start
set -a
. "./$MEMBER/etcd/etcd.env"
. "./$MEMBER/etcd/bootstrap.env"
etcd >>"$MEMBER.log" 2>&1 </dev/null &
echo $! >"$MEMBER.pid"
`;

/** File of a member to the role's template. */
const RENDERED = {
  tool: "longshore-etcd",
  "etcd/etcd.env": "etcd.env",
  "etcd/bootstrap.env": "bootstrap.env",
  unit: "longshore-etcd.service",
};

/** Renders what the role installs, and shows it; ports differ, since all members share one address here. */
const playbook = (directory: string) => `
- hosts: all
  gather_facts: false
  connection: local
  vars_files:
${["common/defaults", "common/vars", "etcd/defaults", "etcd/vars"].map((part) => `    - ${ROLES}/${part}/main.yml`).join("\n")}
  tasks:
    - ansible.builtin.debug:
        msg:
${Object.entries(RENDERED)
  .map(
    ([to, from]) => `          ${to}: "{{ lookup('ansible.builtin.template', '${ROLES}/etcd/templates/${from}.j2') }}"`,
  )
  .join("\n")}
      vars:
        longshore_own_address: 127.0.0.1
        longshore_etcd_client_port: "{{ client_port }}"
        longshore_etcd_peer_port: "{{ peer_port }}"
        longshore_etcd_metrics_port: "{{ metrics_port }}"
        longshore_config_dir: "${directory}/{{ inventory_hostname }}"
        longshore_etcd_dir: "${directory}/{{ inventory_hostname }}/data"
        longshore_etcd_snapshot_directory: "${directory}/{{ inventory_hostname }}/snapshots"
        longshore_etcd_snapshots_kept: 2
        longshore_etcd_endpoints_others: "{{ others }}"
        longshore_etcd_initial_cluster: "{{ first }}"
`;

describe("longshore-etcd", () => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-etcd-tool-"));
  const at = (...parts: string[]) => join(directory, ...parts);

  before(async () => {
    ensurePackages({ etcd: "etcd-server", etcdctl: "etcd-client", openssl: "openssl", "ansible-playbook": "ansible" });
    const secrets = join(ROLES, "certificates/files/site-secrets");
    succeeded(await run(secrets, ["site", at("secrets"), "Longshore test", "30"]));
    const client: Record<string, number> = {};
    const peer: Record<string, number> = {};
    for (const member of MEMBERS) {
      for (const part of ["etcd", "tls", "data", "snapshots"]) mkdirSync(at(member, part), { recursive: true });
      [client[member], peer[member]] = [await freePort(), await freePort()];
      const spec = "etcd;longshore-etcd-member;serverAuth,clientAuth;DNS:localhost,IP:127.0.0.1";
      const args = ["host", at(member, "made"), at("secrets/ca.pem"), "20", "10", spec];
      succeeded(await run(secrets, args, { input: readFileSync(at("secrets/ca.key"), "utf8") }));
      const pair = ["etcd.pem", "etcd.key"].map((name) => readFileSync(at(member, "made", name), "utf8"));
      writeFileSync(at(member, "tls/etcd.pem"), pair.join(""), { mode: 0o600 });
      writeFileSync(at(member, "tls/ca.pem"), readFileSync(at("secrets/ca.pem")));
    }
    const url = (port: number | undefined) => `https://127.0.0.1:${port}`;
    const hosts = await Promise.all(
      MEMBERS.map(async (member) => [
        member,
        {
          client_port: client[member],
          peer_port: peer[member],
          metrics_port: await freePort(),
          others: MEMBERS.filter((other) => other !== member)
            .map((other) => url(client[other]))
            .join(","),
          first: FIRST.map((other) => `${other}=${url(peer[other])}`).join(","),
        },
      ]),
    );
    const children = { longshore_etcd: { hosts: Object.fromEntries(hosts) } };
    writeFileSync(at("inventory.json"), JSON.stringify({ all: { children } }));
    writeFileSync(at("render.yml"), playbook(directory));
    const env = { ...process.env, LC_ALL: "C.UTF-8", ANSIBLE_LOCAL_TEMP: at("tmp"), ANSIBLE_STDOUT_CALLBACK: "json" };
    const args = ["-i", at("inventory.json"), at("render.yml")];
    const { stdout } = succeeded(await run("ansible-playbook", args, { env, deadlineMs: 120_000 }));
    const { plays } = JSON.parse(stdout) as {
      plays: { tasks: { hosts: Record<string, { msg: Record<string, string> }> }[] }[];
    };
    for (const member of MEMBERS) {
      for (const [name, text] of Object.entries(plays[0]?.tasks[0]?.hosts[member]?.msg ?? {})) {
        // Paths that only a machine has, and less patience.
        const here = text
          .replace("PATIENCE_SECONDS=60", "PATIENCE_SECONDS=15")
          .replace("/run/longshore-etcd.digest", at(member, "digest"))
          .replace('"/etc/systemd/system/$UNIT"', at(member, "unit"));
        writeFileSync(at(member, name), here);
      }
    }
    mkdirSync(at("bin"));
    writeFileSync(at("bin/docker"), DOCKER, { mode: 0o755 });
    writeFileSync(at("bin/systemctl"), SYSTEMCTL, { mode: 0o755 });
    for (const member of FIRST) succeeded(await run(at("bin/systemctl"), ["restart"], { env: environment(member) }));
    await until("they are healthy", async () => (await tool("m1", "healthy")).code === 0, { deadlineMs: 60_000 });
  });
  after(() => {
    for (const member of MEMBERS) kill(member);
    rmSync(directory, { recursive: true, force: true });
  });

  const environment = (member: string) => ({
    ...process.env,
    PATH: `${at("bin")}:/usr/sbin:${process.env.PATH}`,
    LAB: directory,
    MEMBER: member,
  });
  const tool = (member: string, ...args: string[]): Promise<Outcome> =>
    run("sh", [at(member, "tool"), ...args], { env: environment(member), deadlineMs: 180_000 });
  const says = async (member: string, ...args: string[]) => succeeded(await tool(member, ...args)).stdout.trim();
  const pidOf = (member: string) => readFileSync(at(`${member}.pid`), "utf8").trim();
  const kill = (member: string) => {
    if (!existsSync(at(`${member}.pid`))) return;
    try {
      process.kill(Number(pidOf(member)), "SIGKILL");
    } catch {
      // It has ended already.
    }
  };
  const change = (member: string) => writeFileSync(at(member, "etcd/etcd.env"), "# changed\n", { flag: "a" });

  test("a member joins the cluster while another host of the inventory isn't up, and knows what was written before", async () => {
    await says("m1", "ctl", "put", "a", "b");
    assert.equal(await says("m4", "join"), "joined");
    assert.equal((await says("m4", "others-list")).split("\n").length, 4);
    assert.match(await says("m4", "ctl", "get", "a"), /^a\nb$/);
  });

  test("it is restarted only if its configuration has changed", async () => {
    const before = pidOf("m1");
    assert.equal(await says("m1", "restart"), "unchanged");
    assert.equal(pidOf("m1"), before);
    change("m1");
    assert.equal(await says("m1", "restart"), "restarted");
    assert.notEqual(pidOf("m1"), before);
    assert.equal(await says("m1", "restart"), "unchanged");
  });

  test("a lost member is taken out, and joins anew with an empty disk", async () => {
    kill("m4");
    rmSync(at("m4/data/member"), { recursive: true });
    assert.equal(await says("m1", "remove", "m4"), "removed m4");
    assert.equal(await says("m1", "remove", "m4"), "m4 is no member");
    assert.equal(await says("m4", "join"), "joined");
    assert.match(await says("m4", "ctl", "get", "a"), /^a\nb$/);
    const again = await tool("m4", "join");
    assert.match(again.stderr, /m4 has data already/, tell(again));
  });

  test("snapshots can be read back, and the oldest go", async () => {
    for (let count = 0; count < 3; count++) {
      const file = await says("m2", "snapshot");
      assert.match(await says("m2", "ctl", "snapshot", "status", file), /^[0-9a-f]+, \d+/);
      const second = Math.floor(Date.now() / 1_000);
      // They are named by the second.
      await until("the next second", () => Math.floor(Date.now() / 1_000) > second);
    }
    assert.equal(readdirSync(at("m2/snapshots")).filter((name) => name.endsWith(".db")).length, 2);
    assert.match(await says("m2", "defrag"), /nothing to do/);
  });

  test("none is restarted while another one is down, unless somebody says so", async () => {
    kill("m4");
    change("m1");
    const before = pidOf("m1");
    const refused = await tool("m1", "restart");
    assert.equal(refused.code, 1, tell(refused));
    assert.match(refused.stderr, /m1 has a new configuration, but isn't restarted while another member is unhealthy/);
    assert.equal(pidOf("m1"), before);
    assert.equal(await says("m1", "restart", "--now"), "restarted");
  });
});
