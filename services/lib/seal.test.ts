import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { open, readKeyRing, SealError, seal, sealKey } from "./seal.js";

const key = sealKey(randomBytes(32));

function refusedWith(reason: SealError["reason"]) {
  return (error: unknown) => error instanceof SealError && error.reason === reason;
}

test("what was sealed can be opened in its own context", () => {
  for (const text of ["", "a secret", "x".repeat(100_000)]) {
    assert.equal(open(seal(text, key, "config/keys/a"), key, "config/keys/a").toString(), text);
  }
});

test("sealing twice gives two envelopes", () => {
  assert.notEqual(seal("a", key, "c"), seal("a", key, "c"));
});

test("an envelope that was moved to another place doesn't open", () => {
  assert.throws(() => open(seal("a", key, "config/keys/a"), key, "config/keys/b"), refusedWith("tampered"));
});

test("a changed envelope doesn't open, whichever character was changed", () => {
  const envelope = seal("a secret", key, "c");
  for (let at = envelope.lastIndexOf(":") + 1; at < envelope.length - 1; at++) {
    const changed = envelope.slice(0, at) + (envelope[at] === "A" ? "B" : "A") + envelope.slice(at + 1);
    assert.throws(() => open(changed, key, "c"), refusedWith("tampered"));
  }
});

test("another key is named, not tried", () => {
  const other = sealKey(randomBytes(32));
  assert.throws(() => open(seal("a", key, "c"), other, "c"), refusedWith("no-such-key"));
});

test("a ring seals with its first key and opens with all", () => {
  const next = sealKey(randomBytes(32));
  const old = seal("a", key, "c");
  assert.equal(open(old, [next, key], "c").toString(), "a");
  assert.equal(open(seal("b", [next, key], "c"), next, "c").toString(), "b");
});

test("what isn't an envelope is refused", () => {
  for (const text of ["", "ls1", "ls1:00000000:", "ls1:00000000:AAAA", "ls2:00000000:AAAA", "{}"]) {
    assert.throws(() => open(text, key, "c"), refusedWith("malformed"));
  }
});

test("a key file with one or more keys is read; a wrong one says what is wrong", () => {
  const [a, b] = [randomBytes(32), randomBytes(32)];
  const ring = readKeyRing(`${a.toString("base64")}\n${b.toString("base64")}\n`);
  assert.deepEqual(
    ring.map((each) => each.bytes),
    [a, b],
  );
  assert.throws(() => readKeyRing("\n"), /openssl rand/);
  assert.throws(() => readKeyRing(randomBytes(16).toString("base64")), /32 bytes, not 16/);
  assert.throws(() => readKeyRing("ä"), /base64/);
});
