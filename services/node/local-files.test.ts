import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { EXIT_SETTINGS, StartupError } from "./errors.js";
import { adminTokenIn, clusterKeyIn, nodeIdIn } from "./local-files.js";

function directory(t: { after(fn: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), "longshore-node-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function says(pattern: RegExp) {
  return (error: unknown) =>
    error instanceof StartupError && error.exitCode === EXIT_SETTINGS && pattern.test(error.message);
}

test("a node keeps its id, and nobody else may read it", (t) => {
  const data = join(directory(t), "deep", "data");
  const id = nodeIdIn(data);
  assert.match(id, /^[0-9a-f-]{36}$/);
  assert.equal(nodeIdIn(data), id);
  assert.equal(statSync(join(data, "node-id")).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(data), ["node-id"]);
});

test("a damaged id is never replaced silently: the node would become another one", (t) => {
  const data = directory(t);
  writeFileSync(join(data, "node-id"), "");
  assert.throws(() => nodeIdIn(data), says(/dataDirectory: .*node-id doesn't hold a UUID/));
  assert.equal(readFileSync(join(data, "node-id"), "utf8"), "");
});

test("a data directory that can't be made names its setting", (t) => {
  const file = join(directory(t), "file");
  writeFileSync(file, "");
  assert.throws(() => nodeIdIn(join(file, "data")), says(/^dataDirectory: .*ENOTDIR/));
});

test("secrets that are missing, empty or malformed name their setting and the mend", (t) => {
  const path = join(directory(t), "secret");
  assert.throws(() => clusterKeyIn(path), says(/^clusterKeyFile: .*can't be read \(ENOENT\)/));
  writeFileSync(path, "\n");
  assert.throws(() => clusterKeyIn(path), says(/^clusterKeyFile: .*openssl rand/));
  assert.throws(() => adminTokenIn(path), says(/^adminTokenFile: .*openssl rand/));
  writeFileSync(path, "0123456789abcdef\n");
  assert.equal(adminTokenIn(path), "0123456789abcdef");
});
