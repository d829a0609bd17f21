import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { until } from "#lib/testing.js";
import { run, succeeded, tell } from "../support/clients/run.js";
import { ROOT } from "../support/compose.js";

/**
 * How `longshore-etcd snapshot` (role etcd) keeps its files. `docker` is a stand-in for etcdctl that can fail or take its time;
 * ansible-etcd-tool.test.ts takes snapshots of real members.
 */

const TEMPLATE = join(ROOT, "ansible/roles/etcd/templates/longshore-etcd.j2");

const DOCKER = `#!/bin/bash
file=\${@: -1}
case "$*" in
  *"snapshot save"*)
    echo content >"$file"
    touch "$LAB/saving"
    while [ -e "$LAB/hold" ]; do sleep 0.05; done ;;
  *"snapshot status"*)
    [ ! -e "$LAB/damaged" ] && [ -s "$file" ] ;;
esac
`;

describe("snapshots of an etcd member", () => {
  let lab: string;
  const at = (...parts: string[]) => join(lab, ...parts);
  const names = () =>
    readdirSync(at("snapshots"))
      .filter((name) => name.endsWith(".db"))
      .sort();
  const snapshot = () =>
    run("sh", [at("tool"), "snapshot"], {
      env: { ...process.env, LAB: lab, PATH: `${at("bin")}:${process.env.PATH}` },
    });

  beforeEach(() => {
    lab = mkdtempSync(join(tmpdir(), "longshore-snapshot-"));
    for (const part of ["bin", "snapshots"]) mkdirSync(at(part));
    writeFileSync(at("bin/docker"), DOCKER, { mode: 0o755 });
    // What the template is filled with matters here in two places only.
    const tool = readFileSync(TEMPLATE, "utf8")
      .replace("{{ longshore_etcd_snapshot_directory | quote }}", at("snapshots"))
      .replace("{{ longshore_etcd_snapshots_kept }}", "2")
      .replace(/\{[{%].*?[%}]\}/g, "x");
    writeFileSync(at("tool"), tool);
  });
  afterEach(() => rmSync(lab, { recursive: true, force: true }));

  test("one that can't be read back never counts among those that are kept", async () => {
    for (const name of ["20260101T000000Z.db", "20260102T000000Z.db"])
      writeFileSync(at("snapshots", name), "content\n");
    const before = names();
    writeFileSync(at("damaged"), "");
    const refused = await snapshot();
    assert.equal(refused.code, 1, tell(refused));
    assert.match(refused.stderr, /can't be read back/);
    assert.deepEqual(names(), before);

    rmSync(at("damaged"));
    const file = succeeded(await snapshot()).stdout.trim();
    assert.ok(existsSync(file));
    assert.deepEqual(names(), ["20260102T000000Z.db", file.slice(at("snapshots/").length)]);
    // What the failed one has left is gone, too.
    assert.deepEqual(
      readdirSync(at("snapshots")).filter((name) => !name.endsWith(".db") && name !== ".lock"),
      [],
    );
  });

  test("two at a time wait for each other", async () => {
    writeFileSync(at("hold"), "");
    const first = snapshot();
    await until("the first one saves", () => existsSync(at("saving")));
    rmSync(at("saving"));
    const second = snapshot();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.ok(!existsSync(at("saving")), "the second one waits");
    assert.deepEqual(names(), [], "none has its name before it was read back");
    rmSync(at("hold"));
    for (const outcome of [await first, await second]) assert.ok(existsSync(succeeded(outcome).stdout.trim()));
  });
});
