import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { copyFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { EXIT } from "#cli/errors.js";
import { failed, run, succeeded } from "../support/clients/run.js";
import { ensureEngine } from "../support/engine.js";
import { LONGSHORE } from "../support/site.js";

/** The offline bundle on a real engine: what went in is what comes out, by both ways to install it, or nothing does. */

const BYTES = 2 * 1024 * 1024;
const PREFIX = `longshore-test-bundle-${process.pid}`;
const IMAGES = [`${PREFIX}/one:1`, `${PREFIX}/two:1`];

describe("a site without a network", () => {
  const work = mkdtempSync(join(tmpdir(), "longshore-bundle-"));
  const source = join(work, "source");
  const bundle = join(work, "site.bundle.tar");
  let ids: readonly string[] = [];
  let sha256 = "";

  const docker = async (...args: string[]) => succeeded(await run("docker", args)).stdout.trim();
  const imageId = async (name: string) => {
    const inspect = await run("docker", ["image", "inspect", "--format", "{{.Id}}", name]);
    return inspect.code === 0 ? inspect.stdout.trim() : undefined;
  };
  const removeImages = async () => {
    for (const image of IMAGES) if ((await imageId(image)) !== undefined) await docker("image", "rm", image);
  };
  const longshore = (...args: string[]) =>
    run(process.execPath, [LONGSHORE, ...args], {
      cwd: work,
      deadlineMs: 120_000,
      // The bundle goes by the site's own .env, whatever the shell that it is made in.
      env: { ...process.env, COMPOSE_PROFILES: "other", COMPOSE_FILE: "/nowhere/compose.yaml" },
    });

  before(async () => {
    await ensureEngine();
    for (const [index, image] of IMAGES.entries()) {
      const root = join(work, `image-${index}`);
      mkdirSync(root);
      writeFileSync(join(root, "content"), randomBytes(BYTES));
      succeeded(await run("tar", ["-C", root, "-cf", `${root}.tar`, "content"]));
      await docker("image", "import", "--change", 'CMD ["/none"]', `${root}.tar`, image);
    }
    ids = await Promise.all(IMAGES.map(async (image) => (await imageId(image)) ?? ""));
    write(source, {
      ".env": "COMPOSE_FILE=compose/compose.yaml\nCOMPOSE_PROJECT_NAME=bundled\nCOMPOSE_PROFILES=two,grafana\n",
      "compose/compose.yaml": [
        "services:",
        `  one: { image: "${IMAGES[0]}", build: . }`,
        `  two: { image: "${IMAGES[1]}", build: ., profiles: [two] }`,
        `  grafana: { image: "${PREFIX}/never-pulled:1", profiles: [grafana] }`,
      ].join("\n"),
      "compose/env.example": "# LONGSHORE_SFTP_PORT=2222\n",
      "ansible/site.yaml": "- hosts: all\n",
      "grafana/dashboards/site.json": "{}\n",
      "docs/README.md": "# docs\n",
      "docs/.hidden": "no\n",
    });
  });
  after(async () => {
    await removeImages();
    rmSync(work, { recursive: true, force: true });
  });

  test("a dry run says what would go in, and writes nothing", async () => {
    const { stdout } = succeeded(await longshore("bundle", "--dir", source, "--output", bundle, "--dry-run", "--json"));
    const plan = JSON.parse(stdout) as { images: { name: string; bytes: number }[]; files: { path: string }[] };
    assert.deepEqual(plan.images.map(({ name }) => name).sort(), [...IMAGES].sort());
    for (const { bytes } of plan.images) assert.ok(bytes >= BYTES, `an image of ${bytes} bytes`);
    assert.deepEqual(
      plan.files.map(({ path }) => path),
      [
        ".env",
        "compose/compose.yaml",
        "compose/env.example",
        "grafana/dashboards/site.json",
        "ansible/site.yaml",
        "docs/README.md",
      ].map((path) => `site/${path}`),
    );
    assert.equal(existsSync(bundle), false);
  });

  test("a bundle holds the images that are there and names the one that isn't", async () => {
    const { stdout, stderr } = succeeded(await longshore("bundle", "--dir", source, "--output", bundle, "--json"));
    const written = JSON.parse(stdout) as { sha256: string; absent: string[]; bytes: number };
    sha256 = written.sha256;
    assert.deepEqual(written.absent, [`${PREFIX}/never-pulled:1`]);
    assert.match(stderr, /never-pulled:1 isn't here, so the bundle does without it/);
    assert.equal(written.bytes, statSync(bundle).size);
    assert.equal(sha256, createHash("sha256").update(readFileSync(bundle)).digest("hex"));
    assert.deepEqual(
      readdirSync(work).filter((name) => name.startsWith(".")),
      [],
      "a temporary file was left",
    );
    succeeded(await longshore("bundle", "verify", bundle, "--sha256", sha256));
    failed(await longshore("bundle", "verify", bundle, "--sha256", "0".repeat(64)));
  });

  test("a bundle that is there isn't replaced, unless that is wanted", async () => {
    const again = failed(await longshore("bundle", "--dir", source, "--output", bundle));
    assert.equal(again.code, EXIT.conflict, again.stderr);
    assert.equal(createHash("sha256").update(readFileSync(bundle)).digest("hex"), sha256);
  });

  test("`longshore bundle install` brings images and files back as they were", async () => {
    await removeImages();
    const target = join(work, "installed");
    const tried = succeeded(await longshore("bundle", "install", bundle, "--dir", target, "--dry-run"));
    assert.match(tried.stdout, /would load the images and write 6 of 6 files/);
    assert.equal(existsSync(target), false);
    const installed = succeeded(await longshore("bundle", "install", bundle, "--dir", target));
    assert.match(installed.stdout, /next: cd \S+ && COMPOSE_PROFILES=two docker compose up -d --wait --no-build/);
    await installedAt(target);
  });

  test("tar, sha256sum and docker alone do the same", async () => {
    await removeImages();
    const unpacked = join(work, "unpacked");
    const target = join(work, "by-script");
    mkdirSync(unpacked);
    succeeded(await run("tar", ["-C", unpacked, "-xf", bundle]));
    const script = join(unpacked, readdirSync(unpacked)[0] ?? "", "install.sh");
    const installed = succeeded(await run("sh", [script, "--dir", target], { cwd: work }));
    assert.match(installed.stdout, /COMPOSE_PROFILES=two docker compose up -d --wait --no-build/);
    await installedAt(target);
  });

  test("settings that were made there stay; other changes are only replaced by force", async () => {
    const target = join(work, "installed");
    appendFileSync(join(target, ".env"), "LONGSHORE_SFTP_PORT=22\n");
    appendFileSync(join(target, "docs/README.md"), "a note\n");
    const refused = failed(await longshore("bundle", "install", bundle, "--dir", target));
    assert.equal(refused.code, EXIT.conflict);
    assert.match(refused.stderr, /docs\/README\.md is there already and differs.*--force/);
    succeeded(await longshore("bundle", "install", bundle, "--dir", target, "--force"));
    assert.match(readFileSync(join(target, ".env"), "utf8"), /LONGSHORE_SFTP_PORT=22/);
    assert.equal(readFileSync(join(target, ".env.new"), "utf8"), readFileSync(join(source, ".env"), "utf8"));
    assert.equal(readFileSync(join(target, "docs/README.md"), "utf8"), "# docs\n");
  });

  test("a truncated or altered bundle loads nothing and leaves nothing, by either way", async () => {
    await removeImages();
    const target = join(work, "never", "anywhere");
    const truncated = join(work, "truncated.tar");
    const altered = join(work, "altered.tar");
    await copyFile(bundle, truncated);
    truncateSync(truncated, Math.floor(statSync(bundle).size / 2));
    const bytes = readFileSync(bundle);
    const middle = Math.floor(bytes.length / 2);
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    writeFileSync(altered, bytes);
    for (const [file, said] of [
      [truncated, /^longshore: \S+ can't be used: it is truncated: [^\n]*Nothing was loaded[^\n]*\n$/m],
      [altered, /^longshore: \S+ can't be used: images\.tar\.gz [^\n]*Nothing was loaded[^\n]*\n$/m],
    ] as const) {
      const refused = failed(await longshore("bundle", "install", file, "--dir", target));
      assert.match(refused.stderr, said);
      for (const image of IMAGES) assert.equal(await imageId(image), undefined, `${image} was loaded`);
      assert.equal(existsSync(join(work, "never")), false);
    }
    const unpacked = join(work, "unpacked-altered");
    mkdirSync(unpacked);
    succeeded(await run("tar", ["-C", unpacked, "-xf", altered]));
    const script = join(unpacked, readdirSync(unpacked)[0] ?? "", "install.sh");
    const refused = failed(await run("sh", [script, "--dir", target], { cwd: work }));
    assert.match(refused.stderr, /altered or isn't whole\. Nothing was loaded/);
    for (const image of IMAGES) assert.equal(await imageId(image), undefined, `${image} was loaded`);
    assert.equal(existsSync(join(work, "never")), false);
  });

  test("an image that isn't built ends the bundling, with the command that builds it", async () => {
    const refused = failed(await longshore("bundle", "--dir", source, "--output", join(work, "none.tar")));
    assert.equal(refused.code, EXIT.notFound);
    assert.match(refused.stderr, /isn't built here: docker compose --profile '\*' build/);
    assert.deepEqual(
      readdirSync(work).filter((name) => /none/.test(name)),
      [],
    );
  });

  async function installedAt(target: string): Promise<void> {
    assert.deepEqual(await Promise.all(IMAGES.map(imageId)), ids);
    const expected = sums(source);
    expected.delete("docs/.hidden");
    assert.deepEqual(sums(target), expected);
  }
});

function write(directory: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(directory, path, ".."), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
}

function sums(directory: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    // `path` is deprecated from Node 21 on, `parentPath` is missing from 20.9: whichever is there.
    const path = join(entry.parentPath ?? entry.path, entry.name);
    found.set(relative(directory, path), createHash("sha256").update(readFileSync(path)).digest("hex"));
  }
  return new Map([...found].sort(([a], [b]) => a.localeCompare(b)));
}
