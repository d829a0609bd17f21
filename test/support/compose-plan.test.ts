import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mountsBelow } from "./compose-cleanup.js";
import { composeEnvironment, freeNet, hostLink } from "./compose-plan.js";

describe("the plan of a compose project for tests", () => {
  test("a network is free if no other one overlaps it, whatever its size", () => {
    assert.equal(freeNet([], 0), "198.18.0");
    assert.equal(freeNet(["198.18.0.0/24", "198.18.1.128/25", "172.17.0.0/16"], 0), "198.18.2");
    assert.equal(freeNet(["198.18.0.0/16"], 0), "198.19.0");
    assert.equal(freeNet([], 0.9999), "198.19.255");
    assert.throws(() => freeNet(["198.18.0.0/15"], 0.5), /no network .* is free/);
  });

  test("the host's end of a cable is found by its index, and must be plugged in", () => {
    const links = JSON.stringify([
      { ifindex: 1, ifname: "lo" },
      { ifindex: 12, ifname: "veth0a", master: "br-1" },
      { ifindex: 13, ifname: "veth0b" },
    ]);
    assert.deepEqual(hostLink(12, links), { name: "veth0a", bridge: "br-1" });
    assert.throws(() => hostLink(13, links), /index 13/);
    assert.throws(() => hostLink(14, links), /index 14/);
  });

  test("a developer's own settings don't get into a test", () => {
    const outer = { PATH: "/bin", COMPOSE_PROFILES: "grafana", LONGSHORE_SFTP_PORT: "22" };
    assert.deepEqual(composeEnvironment(outer, { LONGSHORE_NET: "198.18.7" }), {
      PATH: "/bin",
      LONGSHORE_NET: "198.18.7",
    });
  });

  test("mounts of a directory are undone from the inside out, and no others", () => {
    const mounts = ["tmpfs /tmp/a tmpfs rw 0 0", "tmpfs /tmp/a/b/c tmpfs rw 0 0", "tmpfs /tmp/ab tmpfs rw 0 0"];
    assert.deepEqual(mountsBelow("/tmp/a", `${mounts.join("\n")}\n`), ["/tmp/a/b/c", "/tmp/a"]);
  });
});
