import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { findProgram, isDebian } from "./packages.js";

describe("finding programs", () => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-programs-"));
  after(() => rmSync(directory, { recursive: true }));

  test("a daemon that an ordinary user's PATH doesn't reach is found", () => {
    assert.match(findProgram("ldconfig", "/nowhere") ?? "", /sbin\/ldconfig$/);
  });

  test("what isn't executable, or is a directory, is no program", () => {
    writeFileSync(join(directory, "haproxy-of-test"), "");
    assert.equal(findProgram("haproxy-of-test", directory), undefined);
    chmodSync(join(directory, "haproxy-of-test"), 0o755);
    assert.equal(findProgram("haproxy-of-test", directory), join(directory, "haproxy-of-test"));
    assert.equal(findProgram(".", directory), undefined);
  });

  test("relative parts of PATH are passed over: what they find depends on where one stands", () => {
    assert.equal(findProgram("package.json", "."), undefined);
  });
});

describe("telling Debian from others", () => {
  test("Debian and its descendants have its packages", () => {
    assert.ok(isDebian('NAME="Debian GNU/Linux"\nID=debian\n'));
    assert.ok(isDebian("ID=ubuntu\nID_LIKE=debian\n"));
  });

  test("others haven't", () => {
    assert.ok(!isDebian('ID=fedora\nHOME_URL="https://debian.example"\n'));
    assert.ok(!isDebian(""));
  });
});
