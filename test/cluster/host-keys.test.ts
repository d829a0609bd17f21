import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import ssh2 from "ssh2";
import { generateHostKey, HOST_KEY_KINDS, hostKeyPath, openHostKey, sealHostKey } from "#config/host-keys.js";
import { sealKey } from "#lib/seal.js";

const TYPES = { ed25519: "ssh-ed25519", "ecdsa-p256": "ecdsa-sha2-nistp256", "rsa-3072": "ssh-rsa" } as const;

for (const kind of HOST_KEY_KINDS) {
  test(`a new ${kind} key is read by ssh2, signs, and is the same key to OpenSSH`, async (t) => {
    const text = await generateHostKey(kind);
    const key = ssh2.utils.parseKey(text);
    assert.ok(!(key instanceof Error) && !Array.isArray(key));
    assert.equal(key.type, TYPES[kind]);
    assert.ok(key.isPrivateKey());
    const data = randomBytes(100);
    assert.equal(key.verify(data, key.sign(data)), true);

    const directory = mkdtempSync(join(tmpdir(), "longshore-hostkey-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, "key");
    writeFileSync(file, text, { mode: 0o600 });
    let publicLine: string;
    try {
      publicLine = execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" });
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error;
      t.diagnostic("ssh-keygen isn't installed; compared with ssh2 only");
      return;
    }
    assert.equal(publicLine.trim().split(" ")[1], key.getPublicSSH().toString("base64"));
  });
}

test("padding of the Ed25519 container fits at any key", async () => {
  for (let i = 0; i < 20; i++) assert.ok(!(ssh2.utils.parseKey(await generateHostKey("ed25519")) instanceof Error));
});

test("a sealed host key opens at its own place only", () => {
  const ring = [sealKey(randomBytes(32))] as const;
  const value = sealHostKey("ed25519", "the key", ring);
  assert.doesNotMatch(value, /the key/);
  assert.equal(openHostKey(hostKeyPath("ed25519"), value, ring), "the key");
  assert.throws(() => openHostKey(hostKeyPath("rsa-3072"), value, ring), /belongs elsewhere/);
});
