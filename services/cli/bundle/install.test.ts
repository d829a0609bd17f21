import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { CliError, EXIT } from "../errors.js";
import { placeFiles } from "./install.js";
import type { Manifest } from "./manifest.js";

describe("where a bundle's files go", () => {
  const root = mkdtempSync(join(tmpdir(), "longshore-bundle-place-"));
  after(() => rmSync(root, { recursive: true }));

  const file = (path: string, content: string) => ({
    path,
    bytes: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
    executable: false,
  });
  const manifest = {
    files: [file("install.sh", ""), file("site/.env", "new"), file("site/docs/a.md", "new")],
  } as never;
  const acts = (directory: string, force = false) =>
    placeFiles(manifest as Manifest, directory, force).map(({ to, act }) => [to.slice(directory.length), act]);
  const directory = (env: string | undefined, doc: string | undefined): string => {
    const made = mkdtempSync(join(root, "site-"));
    mkdirSync(join(made, "docs"));
    if (env !== undefined) writeFileSync(join(made, ".env"), env);
    if (doc !== undefined) writeFileSync(join(made, "docs/a.md"), doc);
    return made;
  };
  const conflict = (error: unknown) => error instanceof CliError && error.exitCode === EXIT.conflict;

  test("into a new directory", () => {
    assert.deepEqual(acts(directory(undefined, undefined)), [
      ["/.env", "write"],
      ["/docs/a.md", "write"],
    ]);
  });

  test("what is the same stays; settings that were changed stay, the new ones beside them", () => {
    assert.deepEqual(acts(directory("mine", "new")), [
      ["/.env.new", "beside"],
      ["/docs/a.md", "same"],
    ]);
  });

  test("a file that differs is replaced only by force", () => {
    const made = directory("new", "old");
    assert.throws(() => acts(made), conflict);
    assert.deepEqual(acts(made, true)[1], ["/docs/a.md", "replace"]);
  });

  test("nothing is written through a link, by force neither", () => {
    const made = mkdtempSync(join(root, "site-"));
    symlinkSync("/tmp", join(made, "docs"));
    assert.throws(() => acts(made, true), conflict);
    const file = directory(undefined, undefined);
    symlinkSync("/nowhere", join(file, "docs/a.md"));
    assert.throws(() => acts(file, true), conflict);
  });
});
