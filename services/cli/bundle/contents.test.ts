import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CliError, EXIT } from "../errors.js";
import { activeProfiles, planImages, readSiteFiles } from "./contents.js";
import type { ComposeService, EngineImage } from "./engine.js";
import { startCommand } from "./manifest.js";

const IMAGE: EngineImage = { id: `sha256:${"a".repeat(64)}`, bytes: 10, platform: "linux/amd64" };

const service = (name: string, more: Partial<ComposeService> = {}): ComposeService => ({
  name,
  image: `longshore/${name}:1`,
  built: true,
  profiles: [],
  ...more,
});

function refused(act: () => unknown, exitCode: number, said: RegExp): void {
  assert.throws(act, (error) => error instanceof CliError && error.exitCode === exitCode && said.test(error.message));
}

describe("the images of a bundle", () => {
  const grafana = service("grafana", { image: "grafana/grafana:9", built: false, profiles: ["grafana"] });

  test("each goes in once, whatever the number of its services", () => {
    const services = [service("node-1", { image: "longshore/longshore:1" }), service("longshore")];
    const plan = planImages(services, new Map([["longshore/longshore:1", IMAGE]]), []);
    assert.deepEqual(plan, { present: [{ name: "longshore/longshore:1", image: IMAGE }], absent: [], profiles: null });
  });

  test("a pulled one that isn't there stays out, and its profile with it", () => {
    const found = new Map([
      ["longshore/etcd:1", IMAGE],
      ["grafana/grafana:9", undefined],
    ]);
    const plan = planImages([service("etcd"), grafana], found, ["monitoring", "grafana"]);
    assert.deepEqual(plan.absent, ["grafana/grafana:9"]);
    assert.deepEqual(plan.profiles, ["monitoring"]);
    assert.equal(startCommand(plan as never), "COMPOSE_PROFILES=monitoring docker compose up -d --wait --no-build");
  });

  test("one that isn't built ends it, with the command that builds it", () => {
    const found = new Map([["longshore/etcd:1", undefined]]);
    refused(() => planImages([service("etcd")], found, []), EXIT.notFound, /longshore\/etcd:1 isn't built.* build$/);
  });

  test("a pulled one that the site can't do without ends it", () => {
    const always = { ...grafana, profiles: [] };
    refused(() => planImages([always], new Map([[always.image, undefined]]), []), EXIT.notFound, /docker pull grafana/);
  });

  test("images of two platforms don't go into one bundle", () => {
    const found = new Map([
      ["longshore/a:1", IMAGE],
      ["longshore/b:1", { ...IMAGE, platform: "linux/arm64" }],
    ]);
    refused(() => planImages([service("a"), service("b")], found, []), EXIT.usage, /several platforms/);
  });
});

test("profiles are the last of .env", () => {
  const dotenv = "A=1\nCOMPOSE_PROFILES=x\nCOMPOSE_PROFILES = 'monitoring,grafana' # both\n";
  assert.deepEqual(activeProfiles(dotenv), ["monitoring", "grafana"]);
  assert.deepEqual(activeProfiles("A=1"), []);
});

describe("the files of a bundle", () => {
  const root = mkdtempSync(join(tmpdir(), "longshore-bundle-contents-"));
  after(() => rmSync(root, { recursive: true }));
  let count = 0;
  const site = (files: Readonly<Record<string, string>> = {}): string => {
    const directory = join(root, String(count++));
    mkdirSync(join(directory, "compose"), { recursive: true });
    mkdirSync(join(directory, "docs"));
    for (const [path, text] of Object.entries({ ".env": "A=1\n", "compose/compose.yaml": "x", ...files }))
      writeFileSync(join(directory, path), text);
    return directory;
  };

  test("hidden files stay behind, but for .env, and so does what is no part of a site", () => {
    const directory = site({ "docs/a.md": "a", "docs/.vault-pass": "secret", "package.json": "{}" });
    assert.deepEqual(
      readSiteFiles(directory).map(({ path }) => path),
      ["site/.env", "site/compose/compose.yaml", "site/docs/a.md"],
    );
  });

  test("a private key ends it", () => {
    const directory = site({ "compose/key.pem": "-----BEGIN EC PRIVATE KEY-----\nabc" });
    refused(() => readSiteFiles(directory), EXIT.usage, /key\.pem holds a private key/);
    assert.equal(readSiteFiles(site({ "docs/keys.md": "a file with -----BEGIN PRIVATE KEY----- in it" })).length, 3);
  });

  test("a link ends it", () => {
    const directory = site();
    symlinkSync("/etc/passwd", join(directory, "docs/link"));
    refused(() => readSiteFiles(directory), EXIT.usage, /isn't a plain file/);
  });

  test("a directory that is no site is named", () => {
    refused(() => readSiteFiles(root), EXIT.notFound, /has no \.env.*--dir/);
  });
});
