import assert from "node:assert/strict";
import { test } from "node:test";
import { RENDERERS } from "#cli/render/render.js";
import { nodeSettingsSchema } from "#node/settings.js";

/** The command line may not import the node, so that the two agree is seen here. */
test("the settings that `longshore render node` makes are those that a node takes", () => {
  const input = {
    site: "harbour",
    name: "one",
    slot: 1,
    labels: { rack: "a" },
    bind: "192.0.2.1",
    ports: { sftp: 2022, admin: 8080, agent: 8081 },
    balancers: ["192.0.2.1"],
    etcd: [{ host: "192.0.2.1", port: 2379 }],
    etcdTls: { caFile: "/t/ca.pem", certificateFile: "/t/c.pem", keyFile: "/t/c.key" },
    adminTls: { certificateFile: "/t/a.pem", keyFile: "/t/a.key" },
    adminTokenFile: "/n/admin-token",
    clusterKeyFile: "/n/cluster-key",
    storage: { path: "/srv/longshore", local: true },
    dataDirectory: "/var/lib/longshore/node",
    drainSeconds: 5,
    logLevel: "debug",
  };
  const settings: unknown = JSON.parse(RENDERERS.node(input)["settings.json"]);
  // Nothing is added by a default: the template says all.
  assert.deepEqual(nodeSettingsSchema.parse(settings), settings);
});
