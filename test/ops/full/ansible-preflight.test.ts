import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { report } from "../../support/clients/run.js";
import { Lab } from "../../support/machines.js";
import { told } from "../../support/machines-plan.js";

/** The playbook `preflight` against machines, each with faults of its own. */

const MACHINES = ["m1", "m2", "m3", "m4", "m5"] as const;
const GROUPS = {
  longshore_etcd: ["m1", "m2", "m3"],
  longshore_nodes: ["m1", "m2", "m3", "m4", "m5"],
  longshore_balancers: ["m1", "m2"],
  longshore_monitoring: ["m3"],
};

describe("preflight on machines", () => {
  let lab: Lab;
  let inventory: (name: string, vars?: Readonly<Record<string, unknown>>) => string;

  before(async () => {
    lab = await Lab.start({ machines: MACHINES });
    inventory = (name, vars = {}) =>
      lab.writeInventory(name, {
        groups: GROUPS,
        vars: {
          longshore_image_source: "present",
          longshore_virtual_addresses: lab.virtualAddresses,
          // The machines of a lab have their host's disk.
          longshore_preflight_free_images_mib: 100,
          longshore_preflight_free_node_mib: 100,
          longshore_preflight_free_etcd_mib: 100,
          longshore_preflight_free_storage_mib: 10,
          ...vars,
        },
        hostVars: Object.fromEntries(MACHINES.map((name_, i) => [name_, { longshore_node_slot: i + 1 }])),
      });
  });
  after(async () => {
    await lab?.stop();
  });

  /** All that a machine holds but what lives: changed files show. */
  const state = (machine: string) =>
    lab.sh(
      machine,
      "find /etc /srv /usr/local /var/lib -xdev -newer /lab-begun -type f -not -path '/var/lib/systemd/*' -not -path '/etc/resolv.conf' | sort",
    );

  test("finds nothing on fresh machines, and leaves nothing on them", async () => {
    for (const machine of MACHINES) await lab.sh(machine, "touch /lab-begun && sleep 0.01");
    const ran = await lab.playbook(inventory("fresh"), "preflight");
    assert.equal(ran.code, 0, told(ran));
    assert.equal(ran.changed, 0);
    for (const machine of MACHINES) assert.equal(await state(machine), "", machine);
    report(`preflight of ${MACHINES.length} machines: ${(ran.ms / 1000).toFixed(1)} s`);
  });

  test("finds the faults of all machines at once, and site.yml stops there", async () => {
    // m1: somebody else's program has etcd's port, and m2's name leads astray.
    await lab.sh("m1", "systemd-run --quiet --unit=squatter socat TCP-LISTEN:2379,fork,reuseaddr EXEC:/bin/true");
    await lab.sh("m1", "echo 203.0.113.9 m2.example >>/etc/hosts");
    await lab.sh("m2", "echo 127.0.0.1 m2.example >>/etc/hosts");
    // m2: a clock an hour off, as python sees it: machines of a lab share their host's. uid 10001 is somebody.
    await lab.sh(
      "m2",
      `printf 'import time\\n_now = time.time\\ntime.time = lambda: _now() - 3600\\n' >>$(readlink -f /usr/lib/python3.*/sitecustomize.py)`,
    );
    await lab.sh("m2", "useradd --uid 10001 alice");
    // m3: no room for etcd; another address than the inventory's; an old system.
    await lab.sh("m3", "mkdir -p /var/lib/longshore-etcd && mount -t tmpfs -o size=8m tmpfs /var/lib/longshore-etcd");
    await lab.sh("m3", "sed -i 's/^VERSION_ID=.*/VERSION_ID=\"10\"/' /etc/os-release");
    // m4: a storage that belongs to somebody else. m5: none at all.
    await lab.sh("m4", "umount /srv/longshore && mount -t tmpfs -o size=20m,mode=0755 tmpfs /srv/longshore");
    await lab.sh("m4", "touch /srv/longshore/theirs");
    await lab.sh("m5", "umount /srv/longshore");
    const faulty = lab.writeInventory("faulty", {
      groups: GROUPS,
      vars: { longshore_image_source: "present", longshore_virtual_addresses: ["203.0.113.200"] },
      hostVars: {
        m1: { longshore_node_slot: 1 },
        m2: { longshore_node_slot: 1, longshore_address: "m2.example" },
        m3: { longshore_node_slot: 3, longshore_address: "203.0.113.3" },
        m4: { longshore_node_slot: 4 },
        m5: { longshore_node_slot: 5 },
      },
    });
    const ran = await lab.playbook(faulty, "site");
    const text = told(ran);
    assert.notEqual(ran.code, 0);
    for (const sentence of [
      /longshore_node_slot is 1 on m1 and m2: give each node a number of its own/,
      /m1: port 2379 \(longshore_etcd_client_port of etcd\) is taken by socat on \S+: stop that program/,
      /m1: the name m2\.example of m2 is 203\.0\.113\.9 here, and that host has \S+: mend DNS or \/etc\/hosts/,
      /m1: the virtual address 203\.0\.113\.200 is in no network of this balancer/,
      /m2: its clock is 36\d\d s behind the other hosts': set it/,
      /m2: uid 10001, .*, is the user alice here: give that user another uid/,
      /m2: the name m2\.example \(longshore_address\) is 127\.0\.0\.1 here, and this host has /,
      /m3: longshore_address is 203\.0\.113\.3, which this host doesn't have: use one of /,
      /m3: \/var\/lib\/longshore-etcd \(etcd\) has \d MiB free: make room, at least 1024 MiB/,
      /m3: this is debian 10: use Debian 12 or 13/,
      /m4: uid 10001 may not write to \/srv\/longshore \(it belongs to 0:0, mode 0755\): chown 10001:10001/,
      /m5: \/srv\/longshore is no mount point: mount the share there/,
    ])
      assert.match(text, sentence);
    assert.equal(ran.changed, 0, "nothing was changed");
    assert.match(text, /Nothing was changed/);
    assert.doesNotMatch(text, /TASK \[common : Add/, "the play ended there");
    report(`preflight with 12 faults on ${MACHINES.length} machines: ${(ran.ms / 1000).toFixed(1)} s`);
  });

  test("a machine that is away hides no other one's fault, and a fault can be left out by its name", async () => {
    lab.kill("m5");
    const ran = await lab.playbook(inventory("away", { longshore_preflight_skip: ["clock", "user"] }), "preflight");
    const text = told(ran);
    assert.notEqual(ran.code, 0);
    assert.match(text, /m5: it can't be reached as root over SSH \(.*\): start it, or mend ansible_host/);
    assert.match(text, /m1: port 2379 /);
    assert.doesNotMatch(text, /its clock is/);
    assert.doesNotMatch(text, /the user alice/);
    assert.equal(ran.changed, 0);
  });
});
