import assert from "node:assert/strict";
import { test } from "node:test";
import { VerifiedPasswords } from "./verified-passwords.js";

const right = Buffer.from("right");

test("a password is known for its account and stored hash alone, and for so long", () => {
  const known = new VerifiedPasswords();
  assert.equal(known.isKnown("ann", "hash", right), false);
  known.remember("ann", "hash", right, 60_000);
  assert.equal(known.isKnown("ann", "hash", right), true);
  assert.equal(known.isKnown("ann", "hash", Buffer.from("wrong")), false);
  assert.equal(known.isKnown("bob", "hash", right), false);
  assert.equal(known.isKnown("ann", "another hash", right), false);
  assert.equal(known.isKnown("ann", "hash", right), false, "the password was changed: it is forgotten");
});

test("nothing is kept where the site says so, and never more than a bound", () => {
  const known = new VerifiedPasswords();
  known.remember("ann", "hash", right, 0);
  assert.equal(known.size, 0);
  for (let i = 0; i < 10_050; i++) known.remember(`a${i}`, "hash", right, 60_000);
  assert.equal(known.size, 10_000);
  assert.equal(known.isKnown("a0", "hash", right), false);
  assert.equal(known.isKnown("a10049", "hash", right), true);
});
