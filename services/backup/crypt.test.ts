import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { type BackupKey, decrypt, encrypt, readBackupKey } from "./crypt.js";
import { BackupError } from "./errors.js";

const key: BackupKey = { kind: "key", bytes: randomBytes(32) };

test("what was encrypted comes back, at every length around the chunks' ends", () => {
  const chunk = 65_536;
  for (const length of [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk + 5]) {
    const content = randomBytes(length);
    assert.ok(decrypt(encrypt(content, key), key).equals(content), `${length} bytes`);
  }
});

test("every flipped byte is found, and every cut", () => {
  const file = encrypt(randomBytes(300), key);
  for (let at = 0; at < file.length; at++) {
    const flipped = Buffer.from(file);
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
    assert.throws(() => decrypt(flipped, key), BackupError, `byte ${at}`);
    assert.throws(() => decrypt(file.subarray(0, at), key), BackupError, `cut at ${at}`);
  }
  // Each bit of the header: two spellings of one salt in base64 are two headers.
  for (let at = 0; at < file.length - 316; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = Buffer.from(file);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << bit), at);
      assert.throws(() => decrypt(flipped, key), BackupError, `byte ${at}, bit ${bit}`);
    }
  }
  assert.throws(() => decrypt(Buffer.concat([file, Buffer.alloc(1)]), key), BackupError);
});

test("in a file of several chunks: flips, cuts, and chunks that change places are found", () => {
  const content = randomBytes(5 * 65_536);
  const file = encrypt(content, key);
  const head = file.length - (content.length + 5 * 16);
  const stride = 65_536 + 16;
  for (let cut = 0; cut < 5; cut++) {
    assert.throws(() => decrypt(file.subarray(0, head + cut * stride), key), BackupError, `after ${cut} chunks`);
  }
  const chunkAt = (number: number) => file.subarray(head + number * stride, head + (number + 1) * stride);
  const swapped = Buffer.concat([file.subarray(0, head), chunkAt(1), chunkAt(0), chunkAt(2), chunkAt(3), chunkAt(4)]);
  assert.throws(() => decrypt(swapped, key), BackupError);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: file.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const flipped = Buffer.from(file);
      flipped.writeUInt8(flipped.readUInt8(at) ^ mask, at);
      assert.throws(() => decrypt(flipped, key), BackupError);
    }),
    { numRuns: 60 },
  );
});

test("another key is refused in words that say so; so is a passphrase where a key was used", () => {
  const file = encrypt(Buffer.from("x"), key);
  assert.throws(() => decrypt(file, { kind: "key", bytes: randomBytes(32) }), /the key is another one/);
  assert.throws(() => decrypt(file, { kind: "passphrase", text: "a long passphrase" }), /with a key of 32 bytes/);
  const other = encrypt(Buffer.from("x"), { kind: "passphrase", text: "a long passphrase" });
  assert.throws(() => decrypt(other, key), /with a passphrase/);
  assert.throws(() => decrypt(other, { kind: "passphrase", text: "another passphrase" }), /the key is another one/);
  assert.equal(decrypt(other, { kind: "passphrase", text: "a long passphrase" }).toString(), "x");
});

test("a key file holds 32 bytes, a line of base64, or a passphrase that is no joke", () => {
  const bytes = randomBytes(32);
  assert.deepEqual(readBackupKey(bytes), { kind: "key", bytes });
  assert.deepEqual(readBackupKey(Buffer.from(`${bytes.toString("base64")}\n`)), { kind: "key", bytes });
  const text = "correct horse battery staple";
  assert.deepEqual(readBackupKey(Buffer.from(`${text}\n`)), { kind: "passphrase", text });
  assert.throws(() => readBackupKey(Buffer.from("short\n")), BackupError);
  assert.throws(() => readBackupKey(Buffer.from("two lines of\nsome length\n")), BackupError);
});
