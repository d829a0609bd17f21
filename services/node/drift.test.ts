import assert from "node:assert/strict";
import { test } from "node:test";
import { hashInForce, isMismatch } from "./drift.js";

test("the hash goes by configuration and files, not by the order in which they are named", () => {
  const hash = hashInForce("c", { key: "1", certificate: "2" });
  assert.equal(hashInForce("c", { certificate: "2", key: "1" }), hash);
  for (const other of [
    hashInForce("d", { key: "1", certificate: "2" }),
    hashInForce("c", { key: "1", certificate: "3" }),
    hashInForce("c", { key: "1" }),
    hashInForce("c", { key: "2", certificate: "1" }),
  ]) {
    assert.notEqual(other, hash);
  }
  assert.equal(hashInForce("", { key: "1" }), "");
});

test("a mismatch is another hash at the same revision; a node that lags is none", () => {
  const own = { revision: 5, hash: "a" };
  assert.equal(isMismatch(own, [own, { revision: 5, hash: "a" }]), false);
  assert.equal(isMismatch(own, [{ revision: 5, hash: "b" }]), true);
  assert.equal(isMismatch(own, [{ revision: 4, hash: "b" }]), false);
  assert.equal(isMismatch({ revision: 0, hash: "" }, [{ revision: 0, hash: "b" }]), false);
});
