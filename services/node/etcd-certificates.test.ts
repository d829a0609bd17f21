import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { until } from "#lib/testing.js";
import { openCoordination } from "./coordination.js";
import { nodeSettingsSchema } from "./settings.js";

/** Certificates for etcd that are replaced under a running node. That connections are made with them: contract/etcd-faults. */

const directory = mkdtempSync(join(tmpdir(), "longshore-etcd-certificates-"));
after(() => rmSync(directory, { recursive: true }));
const at = (file: string) => join(directory, file);

/** A certificate in `<name>.pem` and its key in `<name>.key`. */
function make(name: string): { readonly cert: string; readonly key: string } {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", at(`${name}.key`)];
  const made = spawnSync("openssl", ["req", "-x509", ...key, "-out", at(`${name}.pem`), "-subj", `/CN=${name}`]);
  assert.equal(made.status, 0, String(made.stderr));
  return { cert: readFileSync(at(`${name}.pem`), "utf8"), key: readFileSync(at(`${name}.key`), "utf8") };
}

/** As a tool that renews does it. */
function replace(file: string, content: string): void {
  writeFileSync(at("next"), content);
  renameSync(at("next"), at(file));
}

test("a new pair is in force once it is whole, a new authority with it, and half of one never is", async () => {
  const [old, fresh] = [make("old"), make("fresh")];
  replace("ca.pem", old.cert);
  replace("client.pem", old.cert);
  replace("client.key", old.key);
  const settings = nodeSettingsSchema.parse({
    site: "s",
    name: "n",
    slot: 1,
    dataDirectory: directory,
    storage: { path: directory },
    coordination: {
      kind: "etcd",
      endpoints: ["https://192.0.2.1:2379"],
      tls: { caFile: at("ca.pem"), certificateFile: at("client.pem"), keyFile: at("client.key") },
    },
    sftp: { host: "127.0.0.1", port: 1 },
    admin: { host: "127.0.0.1", port: 2 },
    adminTokenFile: "t",
    clusterKeyFile: "k",
  });
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  const logger: Logger = { debug: say, info: say, warn: say, error: say, child: () => logger };
  const { store, etcdTls } = openCoordination(settings, logger);
  try {
    assert.deepEqual(etcdTls(), { ca: old.cert, ...old });
    replace("client.pem", fresh.cert);
    await until("half a pair is complained about", () =>
      said.some((line) => /can't be used; the old ones stay/.test(line)),
    );
    assert.deepEqual(etcdTls(), { ca: old.cert, ...old });
    replace("client.key", fresh.key);
    await until("the whole pair is taken", () => etcdTls()?.cert === fresh.cert);
    replace("ca.pem", `${old.cert}${fresh.cert}`);
    await until("the authorities are taken", () => etcdTls()?.ca !== old.cert);
    assert.deepEqual(etcdTls(), { ca: `${old.cert}${fresh.cert}`, ...fresh });
    assert.equal(said.filter((line) => /made with new certificates/.test(line)).length, 2);
    assert.ok(said.every((line) => !line.includes("PRIVATE KEY")));
  } finally {
    await store.close();
  }
});
