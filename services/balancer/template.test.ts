import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { renderEndSessions } from "./end-sessions.js";
import { type BalancerOptions, HEALTH_PATH, renderBalancer } from "./template.js";

const node = (index: number) => ({
  name: `node-${index}`,
  host: `198.18.0.${index}`,
  sftpPort: 2022,
  adminPort: 8080,
  agentPort: 8081,
});

const options: BalancerOptions = {
  sftp: [
    { host: "0.0.0.0", port: 22 },
    { host: "::", port: 22 },
  ],
  nodes: [node(1), node(2), node(3)],
  stats: { host: "127.0.0.1", port: 8404 },
  socket: "/run/haproxy/admin.sock",
  script: "/etc/haproxy/end-sessions.lua",
};

/** The lines of one section, without their indentation. */
function section(config: string, title: string): string[] {
  const found = config.split("\n\n").find((text) => text.startsWith(`${title}\n`));
  assert.ok(found, `there is a section ${title}`);
  return found
    .split("\n")
    .slice(1)
    .map((line) => line.trim());
}

describe("the balancer's configuration", () => {
  test("each node is a server with its own check and agent port, behind PROXY protocol v2", () => {
    const sftp = section(renderBalancer(options), "listen sftp");
    for (const index of [1, 2, 3]) {
      assert.ok(sftp.includes(`server node-${index} 198.18.0.${index}:2022 port 8080 agent-port 8081`));
    }
    const defaults = sftp.find((line) => line.startsWith("default-server")) ?? "";
    for (const words of ["send-proxy-v2", "weight 100", "check inter", "agent-check"])
      assert.ok(defaults.includes(words), `${words} is in: ${defaults}`);
  });

  test("each node is also a backup without an agent, for when every node drains or is cut off", () => {
    const sftp = section(renderBalancer(options), "listen sftp");
    const backups = sftp.filter((line) => line.startsWith("server ") && line.endsWith(" no-agent-check backup"));
    assert.deepEqual(
      backups.map((line) => line.split(" ")[1]),
      ["node-1-last-resort", "node-2-last-resort", "node-3-last-resort"],
    );
    assert.ok(sftp.includes("option allbackups"));
  });

  test("health is asked at a path that a draining node passes: else draining would end its sessions", () => {
    assert.equal(HEALTH_PATH, "/health/serving");
    assert.ok(section(renderBalancer(options), "listen sftp").includes("option httpchk GET /health/serving"));
  });

  test("a killed node is down, by default, within a second of checks", () => {
    const line =
      section(renderBalancer(options), "listen sftp").find((each) => each.startsWith("default-server")) ?? "";
    const number = (name: string) => Number(new RegExp(` ${name} (\\d+)`).exec(line)?.[1]);
    assert.ok(number("inter") + (number("fall") - 1) * number("fastinter") < 1_000);
  });

  test("the sessions of a dead node are ended when nobody is on the way to it any more, and not by HAProxy itself", () => {
    const config = renderBalancer(options);
    assert.ok(section(config, "global").includes("lua-load /etc/haproxy/end-sessions.lua"));
    assert.doesNotMatch(config, /shutdown-sessions/);
    const looks = Number(/looks\[name\] == (\d+) then/.exec(renderEndSessions({ connectMs: 1_000 }))?.[1]);
    assert.ok(looks * 100 > 1_000);
  });

  test("IPv6 addresses stand in brackets", () => {
    const sftp = section(renderBalancer(options), "listen sftp");
    assert.ok(sftp.includes("bind [::]:22") && sftp.includes("bind 0.0.0.0:22"));
  });

  test("timings, limits and the user can be set", () => {
    const config = renderBalancer({
      ...options,
      checks: { intervalMs: 900, fall: 5 },
      maxConnections: 123,
      threads: 1,
      connectMs: 77,
      runAs: { user: "haproxy", group: "haproxy" },
    });
    for (const text of ["inter 900ms", "fall 5", "maxconn 123", "nbthread 1", "timeout connect 77ms", "user haproxy"])
      assert.ok(config.includes(text), text);
  });

  test("the admin API has an address of its own only where it is asked for, and a drained node still serves it", () => {
    assert.ok(!renderBalancer(options).includes("listen admin"));
    const admin = section(renderBalancer({ ...options, admin: { host: "127.0.0.1", port: 8000 } }), "listen admin");
    assert.ok(admin.includes("server node-1 198.18.0.1:8080"));
    assert.ok(!admin.some((line) => line.includes("agent-check") || line.includes("track")));
  });

  describe("before nodes whose admin port speaks TLS", () => {
    const adminTls = { caFile: "/etc/haproxy/ca.pem", certificateFile: "/etc/haproxy/admin.pem" };
    const secured = { ...options, admin: { host: "127.0.0.1", port: 8000 }, adminTls };
    const trust = "verify required ca-file /etc/haproxy/ca.pem verifyhost";

    test("checks speak TLS and believe only the node's own certificate; sessions stay as they are", () => {
      const servers = section(renderBalancer(secured), "listen sftp").filter((line) => line.startsWith("server "));
      assert.equal(servers.length, 6);
      for (const [index, line] of servers.entries()) {
        assert.ok(line.includes(` check-ssl ${trust} node-${(index % 3) + 1}`), line);
        assert.doesNotMatch(line, / ssl /);
      }
      const named = renderBalancer({ ...secured, nodes: [{ ...node(1), certificateName: "n1.example.net" }] });
      assert.ok(named.includes(`${trust} n1.example.net`));
    });

    test("the admin listener takes TLS, and asks the nodes in it", () => {
      const admin = section(renderBalancer(secured), "listen admin");
      assert.ok(admin.includes("bind 127.0.0.1:8000 ssl crt /etc/haproxy/admin.pem"));
      assert.ok(admin.includes(`server node-1 198.18.0.1:8080 ssl ${trust} node-1`));
    });

    test("a busy node's handshake isn't taken for a death: connecting may take longer, and the script waits as long", () => {
      assert.match(renderBalancer(options), /timeout connect 300ms/);
      assert.match(renderBalancer(secured), /timeout connect 500ms/);
      assert.match(renderBalancer({ ...secured, connectMs: 123 }), /timeout connect 123ms/);
      const looks = Number(/looks\[name\] == (\d+) then/.exec(renderEndSessions(secured))?.[1]);
      assert.ok(looks * 100 > 500);
    });

    test("an admin listener in the clear before them is refused", () => {
      assert.throws(
        () => renderBalancer({ ...secured, adminTls: { caFile: adminTls.caFile } }),
        /needs a certificate: give `adminTls.certificateFile`/,
      );
      assert.doesNotMatch(renderBalancer({ ...options, adminTls: { caFile: adminTls.caFile } }), /listen admin/);
    });
  });

  test("metrics at an address of their own bring neither the statistics page nor a way to change anything", () => {
    assert.ok(!renderBalancer(options).includes("frontend metrics"));
    const metrics = section(
      renderBalancer({ ...options, metrics: { host: "198.18.0.21", port: 8405 } }),
      "frontend metrics",
    );
    assert.ok(metrics.includes("bind 198.18.0.21:8405"));
    assert.ok(metrics.includes("http-request use-service prometheus-exporter if { path /metrics }"));
    assert.ok(metrics.includes("monitor fail if { nbsrv(sftp) lt 1 }"));
    assert.ok(!metrics.some((line) => line.startsWith("stats ")));
  });

  test("what HAProxy would misread or what would expose the statistics is refused", () => {
    const refused = (change: Partial<BalancerOptions>, words: RegExp) =>
      assert.throws(() => renderBalancer({ ...options, ...change }), words);
    refused({ nodes: [] }, /at least one node/);
    refused({ sftp: [] }, /address to listen/);
    refused({ nodes: [node(1), node(1)] }, /must differ/);
    refused({ nodes: [{ ...node(1), name: "a\n  server evil 198.18.0.9:22" }] }, /can't stand in/);
    refused({ socket: "/run/x mode 777" }, /can't stand in/);
    refused({ metrics: { host: "0.0.0.0 ssl crt x", port: 8405 } }, /can't stand in/);
    refused({ adminTls: { caFile: "/etc/ca.pem verify none" } }, /can't stand in/);
    refused({ nodes: [{ ...node(1), certificateName: "n1 verify none" }] }, /can't stand in/);
    refused({ stats: { host: "0.0.0.0", port: 8404 } }, /loopback only/);
  });
});
