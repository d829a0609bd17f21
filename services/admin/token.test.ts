import assert from "node:assert/strict";
import { test } from "node:test";
import { createTokenCheck } from "./token.js";

const allowed = createTokenCheck("0123456789abcdef");

test("the token, and only the token, opens the door", () => {
  assert.equal(allowed("Bearer 0123456789abcdef"), true);
  assert.equal(allowed("bearer 0123456789abcdef"), true);
  for (const header of [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    "Bearer 0123456789abcdeF",
    "Bearer 0123456789abcde",
    "Basic 0123456789abcdef",
    "0123456789abcdef",
  ]) {
    assert.equal(allowed(header), false, header);
  }
});

test("an empty token would open nothing", () => {
  assert.equal(createTokenCheck("")("Bearer "), false);
});
