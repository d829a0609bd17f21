import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ROOT } from "../support/compose.js";

/**
 * What the playbook `preflight` finds wrong with an inventory, and with what it has seen of the hosts: its programs by
 * themselves, without a machine. On machines: full/ansible-preflight.test.ts.
 */

const FILES = join(ROOT, "ansible/roles/preflight/files");

interface Fault {
  readonly host: string;
  readonly check: string;
  readonly say: string;
}

function faultsOf(program: string, document: unknown): readonly Fault[] {
  const options = { input: JSON.stringify(document), encoding: "utf8" } as const;
  const { status, stdout, stderr } = spawnSync("python3", ["-B", join(FILES, program)], options);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Fault[];
}

const SHARED = {
  site: "longshore",
  mode: "active-active",
  version: "0.1.0",
  sftp_port: "2022",
  admin_port: "8080",
  agent_port: "8081",
  active_order: [] as string[],
  virtual_addresses: ["198.18.0.200"],
  storage_kind: "mounted",
  storage_path: "/srv/longshore",
  storage_share: {},
  storage_bricks: [] as string[],
  image_source: "present",
  image_registry: "",
  bundle_file: "",
  bundle_there: false,
};

type Host = Record<string, unknown>;

function host(n: number): Host {
  const ports = { etcd: { longshore_etcd_client_port: "2379" }, node: { longshore_sftp_port: "2022" } };
  return { ...SHARED, address: `198.18.0.${10 + n}`, node_name: `m${n}`, slot: `${n}`, ports };
}

interface Inventory {
  readonly hosts: Record<string, Host>;
  readonly groups: Record<string, string[]>;
}

function site(): Inventory {
  return {
    hosts: { m1: host(1), m2: host(2), m3: host(3) },
    groups: {
      longshore_etcd: ["m1", "m2", "m3"],
      longshore_nodes: ["m1", "m2", "m3"],
      longshore_balancers: ["m1", "m2"],
      longshore_monitoring: ["m3"],
    },
  };
}

/** The same for all hosts. */
function everywhere(inventory: Inventory, vars: Host): void {
  for (const vars_ of Object.values(inventory.hosts)) Object.assign(vars_, vars);
}

function at(inventory: Inventory, name: string): Host {
  const found = inventory.hosts[name];
  assert.ok(found);
  return found;
}

/** What is planted, what it is called, and what the sentence has to hold. */
const planted: readonly (readonly [string, string, RegExp, (inventory: Inventory) => void])[] = [
  [
    "an even number of etcd members",
    "etcd-members",
    /has 2 hosts: make it 3 or 5/,
    ({ groups }) => groups.longshore_etcd?.pop(),
  ],
  ["one node", "too-few", /wants at least 2/, ({ groups }) => groups.longshore_nodes?.splice(1)],
  ["no balancer", "too-few", /longshore_balancers is empty/, ({ groups }) => groups.longshore_balancers?.splice(0)],
  [
    "a slot twice",
    "slot",
    /is 1 on m1 and m3: give each node a number of its own/,
    (it) => Object.assign(at(it, "m3"), { slot: "1" }),
  ],
  ["no slot", "slot", /isn't set/, (it) => Object.assign(at(it, "m2"), { slot: "" })],
  ["a slot out of range", "slot", /from 1 to 255/, (it) => Object.assign(at(it, "m2"), { slot: "256" })],
  ["a node's name twice", "node-name", /is m1 on m1 and m2/, (it) => Object.assign(at(it, "m2"), { node_name: "m1" })],
  ["a node's name with capitals", "node-name", /lower-case/, (it) => Object.assign(at(it, "m2"), { node_name: "M2" })],
  [
    "an address twice",
    "address",
    /give each host its own/,
    (it) => Object.assign(at(it, "m2"), { address: "198.18.0.11" }),
  ],
  [
    "a loopback address",
    "address",
    /no other host can reach/,
    (it) => Object.assign(at(it, "m2"), { address: "127.0.0.1" }),
  ],
  ["an address that is none", "address", /use a host name/, (it) => Object.assign(at(it, "m2"), { address: "m 2" })],
  [
    "an IPv6 address in brackets",
    "address",
    /without brackets/,
    (it) => Object.assign(at(it, "m2"), { address: "[2001:db8::1]" }),
  ],
  [
    "mixed versions",
    "mixed-versions",
    /0\.1\.0 on m1 and m3; 0\.2\.0 on m2/,
    (it) => Object.assign(at(it, "m2"), { version: "0.2.0" }),
  ],
  [
    "mixed settings",
    "mixed-settings",
    /longshore_storage_path isn't the same/,
    (it) => Object.assign(at(it, "m2"), { storage_path: "/data" }),
  ],
  ["an unknown mode", "mode", /set it to active-active or active-passive/, (it) => everywhere(it, { mode: "active" })],
  ["a site's name that is none", "site", /lower-case letters/, (it) => everywhere(it, { site: "Long Shore" })],
  [
    "a virtual address that a host has",
    "virtual-address",
    /is m1's own/,
    (it) => everywhere(it, { virtual_addresses: ["198.18.0.11"] }),
  ],
  [
    "a virtual address that is a name",
    "virtual-address",
    /use IP addresses/,
    (it) => everywhere(it, { virtual_addresses: ["sftp"] }),
  ],
  [
    "a virtual address for one balancer",
    "virtual-address",
    /add a second host/,
    ({ groups }) => groups.longshore_balancers?.pop(),
  ],
  [
    "no witness",
    "witness",
    /a third machine there as witness/,
    (it) => {
      everywhere(it, { mode: "active-passive", active_order: ["m1", "m2"] });
      it.groups.longshore_nodes?.pop();
      it.groups.longshore_etcd?.pop();
    },
  ],
  [
    "an order that names no node",
    "active-order",
    /names m9, which is no node/,
    (it) => everywhere(it, { mode: "active-passive", active_order: ["m1", "m9"] }),
  ],
  ["no order", "active-order", /is empty: list the nodes/, (it) => everywhere(it, { mode: "active-passive" })],
  [
    "a soft mount",
    "storage",
    /and not soft/,
    (it) =>
      everywhere(it, {
        storage_kind: "share",
        storage_share: { source: "nas:/x", fstype: "nfs4", options: "soft,lookupcache=none,actimeo=0" },
      }),
  ],
  [
    "an old NFS",
    "storage",
    /4\.1 or later/,
    (it) =>
      everywhere(it, {
        storage_kind: "share",
        storage_share: { source: "nas:/x", fstype: "nfs", options: "vers=3,hard,lookupcache=none,actimeo=0" },
      }),
  ],
  [
    "a Windows share",
    "storage",
    /isn't safe/,
    (it) =>
      everywhere(it, { storage_kind: "share", storage_share: { source: "//nas/x", fstype: "cifs", options: "" } }),
  ],
  [
    "two bricks",
    "storage",
    /has 2 hosts: name 3/,
    (it) => everywhere(it, { storage_kind: "glusterfs", storage_bricks: ["m1", "m2"] }),
  ],
  [
    "no such bundle",
    "images",
    /there is no such file/,
    (it) => everywhere(it, { image_source: "bundle", bundle_file: "/x.tar" }),
  ],
  ["no registry", "images", /isn't set/, (it) => everywhere(it, { image_source: "registry" })],
  [
    "one port for two parts",
    "port",
    /port 2379 is wanted by .* and .*: set one of them/,
    (it) =>
      Object.assign(at(it, "m1"), { ports: { etcd: { a: "2379" }, balancer: { longshore_partner_port: "2379" } } }),
  ],
];

describe("faults of an inventory", () => {
  test("there are none in a sound one", () => {
    assert.deepEqual(faultsOf("inventory_faults.py", site()), []);
  });

  for (const [what, check, say, plant] of planted)
    test(`${what} is one sentence that says what to change`, () => {
      const inventory = site();
      plant(inventory);
      const faults = faultsOf("inventory_faults.py", inventory);
      const found = faults.find((fault) => fault.check === check && say.test(fault.say));
      assert.ok(found, JSON.stringify(faults));
      assert.match(found.say, /: /, "a sentence says what is wrong, then what to do");
      assert.doesNotMatch(found.say, /\n/);
    });
});

describe("faults between hosts", () => {
  const secrets = mkdtempSync(join(tmpdir(), "longshore-preflight-"));
  after(() => rmSync(secrets, { recursive: true, force: true }));
  mkdirSync(secrets, { recursive: true, mode: 0o700 });
  for (const name of ["cluster-key", "admin-token"]) writeFileSync(join(secrets, name), "secret\n", { mode: 0o600 });

  const seen = (off = 0, versions: Record<string, string> = {}, faults: unknown[] = []) => ({
    away: false,
    why: "",
    ended: "1000.5",
    probe: { faults, facts: { versions, site: "" }, clock: { sent: 1000, read: 1000.2 + off, took: 0.1 } },
  });
  const document = (hosts: Record<string, unknown>, more: Record<string, unknown> = {}) => ({
    hosts,
    clock_seconds: 2,
    for: "site",
    version: "0.1.0",
    secrets: ["cluster-key", "admin-token"],
    secrets_dir: secrets,
    ...more,
  });
  const judged = (hosts: Record<string, unknown>, more: Record<string, unknown> = {}) =>
    faultsOf("host_faults.py", document(hosts, more)).map(({ host: name, check, say }) => `${name} ${check} ${say}`);

  test("there are none between sound ones", () => {
    assert.deepEqual(judged({ m1: seen(), m2: seen(0.3, { node: "0.1.0" }), m3: seen(-0.3) }), []);
  });

  test("a clock that is off is told from an answer that was late", () => {
    assert.match(judged({ m1: seen(), m2: seen(), m3: seen(-3600) }).join(), /^m3 clock its clock is 3600 s behind/);
    assert.match(judged({ m1: seen(), m2: seen(60), m3: seen() }).join(), /^m2 clock its clock is 60 s ahead/);
    const late = seen(60);
    assert.deepEqual(judged({ m1: seen(), m2: { ...late, ended: "1060.4" }, m3: seen() }), []);
    assert.match(
      judged({ m1: seen(-90), m2: seen(-90), m3: seen(-90) }).join(),
      /this controller's clock is 90 s ahead/,
    );
  });

  test("another version than the site's is the playbook upgrade's business", () => {
    const hosts = { m1: seen(0, { node: "0.0.9" }), m2: seen(0, { node: "0.0.9" }) };
    assert.match(judged(hosts).join(), /runs 0\.0\.9 and longshore_version is 0\.1\.0: run the playbook upgrade/);
    assert.deepEqual(judged(hosts, { for: "upgrade" }), []);
    const half = { m1: seen(0, { node: "0.1.0" }), m2: seen(0, { node: "0.0.9" }) };
    assert.match(judged(half).join(), /several versions .*: an upgrade was interrupted/);
  });

  test("a missing secret of an installed site is told before a new one is made", () => {
    rmSync(join(secrets, "cluster-key"));
    assert.deepEqual(judged({ m1: seen() }), []);
    assert.match(
      judged({ m1: seen(0, { node: "0.1.0" }) }).join(),
      /cluster-key is missing, and m1 is installed already/,
    );
    writeFileSync(join(secrets, "cluster-key"), "secret\n", { mode: 0o644 });
    assert.match(judged({ m1: seen() }).join(), /cluster-key is open to others on this controller: chmod/);
    writeFileSync(join(secrets, "cluster-key"), "");
    assert.match(judged({ m1: seen() }).join(), /cluster-key is empty/);
    rmSync(join(secrets, "cluster-key"));
    writeFileSync(join(secrets, "cluster-key"), "secret\n", { mode: 0o600 });
  });

  test("a host that is away or can't be looked at is one fault among the others", () => {
    const away = { away: true, why: "Connection\n timed out", ended: "0", probe: "" };
    const odd = { away: false, why: "SyntaxError", ended: "0", probe: null };
    const faults = judged({ m1: away, m2: odd, m3: seen(0, {}, [{ check: "space", say: "no room" }]) });
    assert.equal(faults.length, 3);
    assert.match(faults[0] ?? "", /^m1 unreachable .*Connection timed out.*: start it/);
    assert.match(faults.join("\n"), /m3 space no room/);
  });
});
