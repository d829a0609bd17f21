import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { changedTasks, machineFlags, parseRecap, renderInventory, told } from "./machines-plan.js";

const OUTPUT = `
PLAY [Prepare the machines] ****************************************************

TASK [common : Add the group] **************************************************
ok: [one]
changed: [two]

RUNNING HANDLER [node : Restart] ***********************************************
changed: [two] => (item=a)

PLAY RECAP *********************************************************************
one                        : ok=3    changed=0    unreachable=0    failed=0    skipped=1    rescued=0    ignored=0
two                        : ok=4    changed=2    unreachable=1    failed=1    skipped=0    rescued=0    ignored=0

Sunday 22 November 2026  10:00:00 +0000 (0:00:01.000)       0:00:02.000 *****
`;

describe("what a playbook printed", () => {
  test("a message that is folded and quoted can be looked for as it was meant", () => {
    const stdout =
      "fatal: [m1]: FAILED! =>\n    stderr: 'longshore-etcd: m1 isn''t restarted while another\n        member is unhealthy'\n";
    assert.match(told({ stdout, stderr: "" }), /m1 isn't restarted while another member is unhealthy/);
  });

  test("its recap gives each host's counts", () => {
    const hosts = parseRecap(OUTPUT);
    assert.deepEqual([...hosts.keys()], ["one", "two"]);
    assert.deepEqual(hosts.get("two"), {
      ok: 4,
      changed: 2,
      unreachable: 1,
      failed: 1,
      skipped: 0,
      rescued: 0,
      ignored: 0,
    });
  });

  test("a run that got to no play has no hosts", () => {
    assert.equal(parseRecap("ERROR! the playbook: x.yml could not be found\n").size, 0);
  });

  test("the tasks that changed something are told with their host, handlers and loops too", () => {
    assert.deepEqual(changedTasks(OUTPUT), ["two: common : Add the group", "two: node : Restart"]);
  });
});

describe("a machine", () => {
  test("isn't given what the host itself has not, since the engine would refuse to start it", () => {
    const flags = (capabilityBound: bigint) => machineFlags({ capabilityBound, cgroupVersion: "2", devices: [] });
    assert.ok(flags(0x1fffeffffffn).includes("--cap-drop=SYS_RESOURCE"));
    assert.ok(!flags(0x1ffffffffffn).includes("--cap-drop=SYS_RESOURCE"));
    assert.ok(!flags(0n).includes("--privileged"));
  });

  test("on a host with cgroups of version 1 systemd gets a directory to mount them in", () => {
    const flags = (cgroupVersion: string) =>
      machineFlags({ capabilityBound: 0n, cgroupVersion, devices: ["/dev/fuse"] });
    assert.ok(flags("1").includes("/sys/fs/cgroup"));
    assert.ok(!flags("2").includes("/sys/fs/cgroup"));
    assert.ok(flags("2").includes("/dev/fuse"));
  });
});

describe("an inventory", () => {
  const hosts = [
    { name: "one", address: "198.18.0.11", sshPort: 12001 },
    { name: "two", address: "198.18.0.12", sshPort: 12002 },
  ];
  const ssh = { keyFile: "/k", knownHostsFile: "/h" };

  test("names only the machines that are in a group, at their published port, with host keys checked", () => {
    const options = { groups: { longshore_nodes: ["two"] }, hostVars: { two: { longshore_node_slot: 7 } } };
    const { all } = JSON.parse(renderInventory(hosts, options, ssh));
    assert.deepEqual(all.hosts, {
      two: {
        ansible_host: "127.0.0.1",
        ansible_port: 12002,
        longshore_address: "198.18.0.12",
        longshore_node_slot: 7,
      },
    });
    assert.deepEqual(all.children, { longshore_nodes: { hosts: { two: {} } } });
    assert.match(all.vars.ansible_ssh_common_args, /UserKnownHostsFile=\/h/);
    assert.doesNotMatch(all.vars.ansible_ssh_common_args, /StrictHostKeyChecking/);
  });

  test("with a machine that isn't there is refused", () => {
    assert.throws(() => renderInventory(hosts, { groups: { longshore_etcd: ["three"] } }, ssh), /no machine three/);
  });
});
