import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { RENDERERS } from "#cli/render/render.js";
import { run, succeeded } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";
import { ensurePackages } from "../support/packages.js";

/**
 * What the roles hand to `longshore render` for inventories that the lab's machines don't have: names, IPv6, privileged
 * ports. By Debian's ansible on this host alone: no machine, no container.
 */

const ROLES = join(ROOT, "ansible/roles");

const INVENTORY = {
  all: {
    vars: { ansible_connection: "local" },
    hosts: {
      t1: { longshore_address: "2001:db8::11", longshore_node_slot: 1, longshore_node_name: "alpha" },
      t2: { longshore_address: "transfer-2.example.net", longshore_node_slot: 2 },
      t3: { ansible_host: "192.0.2.13", longshore_node_slot: 3 },
    },
    children: Object.fromEntries(
      Object.entries({
        longshore_etcd: ["t1", "t2", "t3"],
        longshore_nodes: ["t1", "t2", "t3"],
        longshore_balancers: ["t1", "t3"],
      }).map(([group, names]) => [group, { hosts: Object.fromEntries(names.map((name) => [name, {}])) }]),
    ),
  },
};

/** As the machine t1 would find them. */
const FACTS = {
  interfaces: ["eth0"],
  eth0: { device: "eth0", ipv4: { address: "192.0.2.11" } },
  default_ipv4: { interface: "eth0" },
  default_ipv6: { interface: "eth6" },
  all_ipv6_addresses: ["2001:db8::11"],
  all_ipv4_addresses: ["192.0.2.11"],
};

describe("what the roles make of an inventory", () => {
  let directory: string;

  before(() => {
    ensurePackages({ "ansible-playbook": "ansible" });
    directory = mkdtempSync(join(tmpdir(), "longshore-ansible-"));
    writeFileSync(join(directory, "hosts.yml"), JSON.stringify(INVENTORY));
  });
  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  /** Renders the templates on t1 with these variables and returns them by name. */
  async function rendered(vars: Readonly<Record<string, unknown>>) {
    const template = (role: string, name: string) =>
      `lookup('ansible.builtin.template', '${ROLES}/${role}/templates/${name}')`;
    const raw = (role: string, name: string) =>
      `{{ lookup('ansible.builtin.template', '${ROLES}/${role}/templates/${name}', convert_data=false) | string }}`;
    const wanted = {
      "balancer.json": raw("balancer", "input.json.j2"),
      "node.json": raw("node", "input.json.j2"),
      "keepalived.conf": `{{ ${template("balancer", "keepalived.conf.j2")} }}`,
      "balancer.service": `{{ ${template("balancer", "longshore-balancer.service.j2")} }}`,
      etcd: "{{ longshore_etcd_endpoints | to_json }}",
    };
    const play = {
      hosts: "t1",
      gather_facts: false,
      vars_files: ["common", "balancer", "node"].flatMap((role) =>
        ["defaults", "vars"].map((kind) => `${ROLES}/${role}/${kind}/main.yml`),
      ),
      vars: { ansible_facts: FACTS },
      tasks: Object.entries(wanted).map(([name, content]) => ({
        "ansible.builtin.copy": { content, dest: join(directory, name) },
      })),
    };
    writeFileSync(join(directory, "play.yml"), JSON.stringify([play]));
    const given = {
      longshore_balancer_ips: ["2001:db8::11", "192.0.2.13"],
      longshore_balancer_own_ip: "2001:db8::11",
      longshore_node_listens: "::",
      ...vars,
    };
    const args = ["-i", "hosts.yml", "play.yml", "-e", JSON.stringify(given)];
    succeeded(await run("ansible-playbook", args, { cwd: directory, deadlineMs: 120_000 }));
    const text = (name: string) => readFileSync(join(directory, name), "utf8");
    return {
      haproxy: RENDERERS.balancer(JSON.parse(text("balancer.json")))["haproxy.cfg"],
      node: JSON.parse(RENDERERS.node(JSON.parse(text("node.json")))["settings.json"]),
      keepalived: text("keepalived.conf"),
      unit: text("balancer.service"),
      etcd: JSON.parse(text("etcd")),
    };
  }

  test("names, IPv4 and IPv6 side by side; a node that leaves is gone; each family of virtual addresses has its place", async () => {
    const { haproxy, node, keepalived, unit, etcd } = await rendered({
      longshore_virtual_addresses: ["2001:db8::10", "192.0.2.10"],
      longshore_leaving: ["t3"],
    });
    assert.match(haproxy, /server alpha \[2001:db8::11\]:2022 port 8080 .*verifyhost alpha/);
    assert.match(haproxy, /server t2 transfer-2\.example\.net:2022/);
    assert.doesNotMatch(haproxy, /server t3/);
    assert.match(haproxy, /bind \[::\]:2222/);
    assert.deepEqual(etcd, [
      "https://[2001:db8::11]:2379",
      "https://transfer-2.example.net:2379",
      "https://192.0.2.13:2379",
    ]);
    assert.deepEqual(node.coordination.endpoints, etcd);
    assert.equal(node.name, "alpha");
    assert.deepEqual(node.balancers, ["2001:db8::11", "192.0.2.13"]);
    assert.match(keepalived, /interface eth6\n/);
    assert.match(keepalived, /unicast_peer \{\n {4}192\.0\.2\.13\n {2}\}/);
    assert.match(keepalived, /virtual_ipaddress \{\n {4}2001:db8::10\n {2}\}/);
    assert.match(keepalived, /virtual_ipaddress_excluded \{\n {4}192\.0\.2\.10\n {2}\}/);
    assert.doesNotMatch(unit, /--user 0:0/);
  });

  test("partners on port 22: HAProxy starts as root, with two rights more, and gives them up", async () => {
    const { haproxy, unit } = await rendered({ longshore_partner_port: 22, longshore_admin_tls: false });
    assert.match(haproxy, /bind 0\.0\.0\.0:22\n/);
    assert.match(haproxy, / user longshore\n/);
    assert.doesNotMatch(haproxy, /check-ssl|listen admin/);
    assert.match(unit, /--user 0:0 --cap-add NET_BIND_SERVICE --cap-add SETUID --cap-add SETGID/);
  });
});
