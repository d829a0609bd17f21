import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { hasNativeCrypto, headersDirectory } from "./prepare.js";

test("ssh2's native crypto is built: without it SFTP is several times slower, and nothing says so", () => {
  assert.ok(hasNativeCrypto(), "run `node dist/services/cli/prepare.js`: it builds it, or says what is missing");
});

describe("Node's headers", () => {
  const prefix = mkdtempSync(join(tmpdir(), "longshore-headers-"));
  const node = join(prefix, "bin", "node");
  after(() => rmSync(prefix, { recursive: true }));

  test("are those of the very version, beside the program", () => {
    assert.equal(headersDirectory(node, "v20.1.2"), undefined);
    mkdirSync(join(prefix, "include", "node"), { recursive: true });
    const lines = ["MAJOR", "MINOR", "PATCH"].map(
      (part, index) => `#define NODE_${part}_VERSION ${[20, 1, 2][index]}\n`,
    );
    writeFileSync(join(prefix, "include", "node", "node_version.h"), lines.join(""));
    assert.equal(headersDirectory(node, "v20.1.2"), prefix);
    assert.equal(headersDirectory(node, "v20.1.3"), undefined);
  });
});
