import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions } from "@node-rs/argon2";
import { isCode } from "#lib/errors.js";
import { DUMMY_HASH, hashPassword, LANES, MEMORY_KIB, PASSES, verifyPassword } from "./passwords.js";
import { endThreads } from "./testing.js";

const secret = Buffer.from("correct horse");

test("a password matches its own hash only, which is salted and has the parameters in force", async () => {
  const [one, two] = await Promise.all([hashPassword("correct horse"), hashPassword(secret)]);
  assert.notEqual(one, two);
  assert.equal(await verifyPassword(one, secret), "match");
  assert.equal(await verifyPassword(two, secret), "match");
  assert.equal(await verifyPassword(one, Buffer.from("correct horsf")), "mismatch");
  assert.equal(await verifyPassword(one, Buffer.alloc(0)), "mismatch");
  for (const hash of [one, DUMMY_HASH]) {
    const { algorithm, memoryCost, timeCost, parallelism } = parseOptions(hash);
    const kind: number = algorithm;
    assert.deepEqual([kind, memoryCost, timeCost, parallelism], [2, MEMORY_KIB, PASSES, LANES]);
  }
});

test("an empty password can't be set", async () => {
  await assert.rejects(hashPassword(""), (error) => isCode(error, "invalid-argument"));
});

test("without a hash nothing matches, and it takes as long as a wrong password", async () => {
  const hash = await hashPassword("x");
  assert.equal(await verifyPassword(undefined, secret), "mismatch");
  const time = async (of: string | undefined) => {
    const from = performance.now();
    await verifyPassword(of, secret);
    return performance.now() - from;
  };
  // In turns, and the fastest of each: the runs that the machine's other work disturbed least.
  let known = Number.POSITIVE_INFINITY;
  let unknown = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 40; i++) {
    known = Math.min(known, await time(hash));
    unknown = Math.min(unknown, await time(undefined));
  }
  assert.ok(unknown > known * 0.6 && unknown < known * 1.7, `known ${known} ms, unknown ${unknown} ms`);
});

test("a stored hash that can't be used, or is too dear, is told apart from a wrong password", async () => {
  for (const hash of ["$argon2id$nonsense", "$argon2i$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", ""]) {
    assert.equal(await verifyPassword(hash, secret), "unusable", hash);
  }
  const dear = DUMMY_HASH.replace(`m=${MEMORY_KIB}`, "m=4194304");
  const from = performance.now();
  assert.equal(await verifyPassword(dear, secret), "unusable");
  assert.ok(performance.now() - from < 1_000, "4 GiB were not hashed");
});

test("where the thread ends, nothing is said about the password or its hash, and the next check has another thread", async () => {
  const hash = await hashPassword(secret);
  const check = verifyPassword(hash, secret);
  await endThreads();
  assert.equal(await check, "busy", "a failed login counts against the client, and in the end bans it");
  assert.equal(await verifyPassword(hash, secret), "match");
});

test("brute force is refused past the queue, and the file system's threads stay free", async () => {
  const { readFile } = await import("node:fs/promises");
  const checks = Array.from({ length: 400 }, () => verifyPassword(DUMMY_HASH, secret));
  const from = performance.now();
  await readFile(new URL(import.meta.url));
  const read = performance.now() - from;
  const results = await Promise.all(checks);
  const all = performance.now() - from;
  assert.equal(results.filter((result) => result === "busy").length, 400 - 2 - 256);
  assert.ok(read < all / 10, `a file was read after ${read} ms of ${all} ms`);
});
