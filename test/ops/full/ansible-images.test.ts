import assert from "node:assert/strict";
import { cpSync, mkdirSync, openSync, readSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { report, run, succeeded } from "../../support/clients/run.js";
import { ComposeSite, IMAGE_TAG, ROOT } from "../../support/compose.js";
import { Lab } from "../../support/machines.js";
import { changedTasks, told } from "../../support/machines-plan.js";
import { LONGSHORE } from "../../support/site.js";

/** Where a site's images come from, besides the controller's own engine: out of a bundle, or from a registry. */

const MACHINES = ["m1", "m2"] as const;
/** What the first machine runs, a node and a balancer; the second is a node. */
const PARTS = ["longshore", "haproxy"];
const BUNDLED = ["compose", "grafana", "ansible", "docs", "README.md", "CHANGELOG.md", "LICENSE"];

describe("images on machines", () => {
  let lab: Lab;
  let bundle: string;
  let ids: readonly string[];

  before(async () => {
    const images = await ComposeSite.prepare();
    await images.build();
    ids = await Promise.all(PARTS.map((part) => idOf(part)));
    lab = await Lab.start({ machines: MACHINES });
    const site = join(lab.directory, "bundled");
    mkdirSync(site);
    for (const part of BUNDLED) cpSync(join(ROOT, part), join(site, part), { recursive: true });
    const settings = ["COMPOSE_FILE=compose/compose.yaml", `LONGSHORE_VERSION=${IMAGE_TAG}`];
    writeFileSync(join(site, ".env"), `${settings.join("\n")}\n`);
    bundle = join(lab.directory, "site.bundle.tar");
    const made = await run(process.execPath, [LONGSHORE, "bundle", "--dir", site, "--output", bundle], {
      deadlineMs: 300_000,
    });
    succeeded(made);
    report(`a bundle of ${Math.round(statSync(bundle).size / 1024 / 1024)} MiB after ${Math.round(made.ms / 1000)} s`);
    await images.remove();
  });
  after(async () => {
    await lab?.stop();
  });

  async function idOf(part: string): Promise<string> {
    const inspect = ["image", "inspect", "--format", "{{.Id}}", `longshore/${part}:${IMAGE_TAG}`];
    return succeeded(await run("docker", inspect)).stdout.trim();
  }

  const imagesOf = (machine: string, part: string) =>
    lab.sh(machine, `docker image ls --no-trunc --format '{{.ID}}' longshore/${part}:${IMAGE_TAG}`);

  /** Runs the part of `site.yml` that brings the images. */
  function engine(name: string, vars: Readonly<Record<string, unknown>>, machines: readonly string[] = MACHINES) {
    const inventory = lab.writeInventory(name, {
      groups: { longshore_etcd: [], longshore_nodes: [...machines], longshore_balancers: ["m1"] },
      hostVars: Object.fromEntries(machines.map((machine, index) => [machine, { longshore_node_slot: index + 1 }])),
      vars: { longshore_site: "harbour", longshore_version: IMAGE_TAG, ...vars },
    });
    return lab.playbook(inventory, "site", ["--tags", "engine"]);
  }

  test("a bundle that is damaged, or of another version, brings nothing", async () => {
    const damaged = join(lab.directory, "damaged.bundle.tar");
    cpSync(bundle, damaged);
    const file = openSync(damaged, "r+");
    const middle = Math.floor(statSync(damaged).size / 2);
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, middle);
    writeSync(file, Buffer.from([byte.readUInt8() ^ 0xff]), 0, 1, middle);
    const refused = await engine("damaged", { longshore_image_source: "bundle", longshore_bundle_file: damaged });
    assert.notEqual(refused.code, 0);
    assert.match(told(refused), /damaged: its images aren't those of its manifest; copy it again/);
    const other = await engine("other", {
      longshore_image_source: "bundle",
      longshore_bundle_file: bundle,
      longshore_version: "9.9.9",
    });
    assert.notEqual(other.code, 0);
    assert.match(told(other), /set longshore_version to what the bundle has, or take another bundle/);
    for (const machine of MACHINES) assert.equal(await lab.sh(machine, "docker image ls --quiet"), "");
  });

  test("out of a bundle: each machine gets what it runs, and a second run changes nothing", async () => {
    const vars = { longshore_image_source: "bundle", longshore_bundle_file: bundle };
    const first = await engine("bundle", vars);
    assert.equal(first.code, 0, told(first));
    report(`images of two machines out of a bundle: ${Math.round(first.ms / 1000)} s`);
    for (const [index, part] of PARTS.entries()) assert.equal(await imagesOf("m1", part), ids[index], part);
    assert.equal(await imagesOf("m2", "longshore"), ids[0]);
    assert.equal(await lab.sh("m2", "ls /var/tmp | grep longshore || true"), "");
    const second = await engine("bundle", vars);
    assert.equal(second.code, 0, told(second));
    assert.deepEqual(changedTasks(second.stdout), []);
  });

  test("from a registry: pulled by the machine, and a second run changes nothing", async () => {
    const registry = "127.0.0.1:5000/mft";
    // Debian's own registry, on the machine itself: only there may one be without TLS.
    await lab.sh("m1", "apt-get update -qq && apt-get install -qq --no-install-recommends docker-registry >/dev/null");
    const settings = { version: 0.1, storage: { filesystem: { rootdirectory: "/var/lib/docker-registry" } } };
    const open = JSON.stringify({ ...settings, http: { addr: "127.0.0.1:5000" } });
    await lab.write("m1", "/etc/docker/registry/config.yml", open);
    await lab.sh("m1", "systemctl restart docker-registry");
    const asks = () => lab.exec("m1", "bash", "-c", "</dev/tcp/127.0.0.1/5000");
    await until("the registry answers", async () => (await asks()).code === 0);
    for (const part of PARTS) {
      const [here, there] = [`longshore/${part}:${IMAGE_TAG}`, `${registry}/longshore/${part}:${IMAGE_TAG}`];
      await lab.sh("m1", `docker tag ${here} ${there} && docker push --quiet ${there} && docker rmi ${here} ${there}`);
    }
    const vars = { longshore_image_source: "registry", longshore_image_registry: registry };
    const first = await engine("registry", vars, ["m1"]);
    assert.equal(first.code, 0, told(first));
    for (const [index, part] of PARTS.entries()) assert.equal(await imagesOf("m1", part), ids[index], part);
    const second = await engine("registry", vars, ["m1"]);
    assert.equal(second.code, 0, told(second));
    assert.deepEqual(changedTasks(second.stdout), []);
  });
});
