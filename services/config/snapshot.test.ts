import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import type { Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { sealKey } from "#lib/seal.js";
import { HOST_KEY_KINDS, hostKeyPath, sealHostKey } from "./host-keys.js";
import { CONFIG_HEAD, type DecodeCache, decodeConfig } from "./snapshot.js";

const ring = [sealKey(randomBytes(32))] as const;
const site = { id: "0f8e7d6c-1111-4222-8333-444455556666", name: "test" };
const hostKeys = HOST_KEY_KINDS.map((kind) => [hostKeyPath(kind), sealHostKey(kind, `private ${kind}`, ring)] as const);

function entry(key: string, value: unknown, modRevision: number): Entry {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return { key, value: text, createRevision: modRevision, modRevision };
}

function wholeSite(...more: Entry[]): Entry[] {
  return [entry(keys.site, site, 2), ...hostKeys.map(([key, value]) => entry(key, value, 2)), ...more];
}

function valid(entries: readonly Entry[], cache?: DecodeCache) {
  const decoded = decodeConfig(entries, ring, cache);
  assert.ok(decoded.valid, JSON.stringify(decoded));
  return decoded.snapshot;
}

test("a whole configuration becomes one frozen snapshot", () => {
  const snapshot = valid(wholeSite(entry(keys.account("ann"), { name: "ann" }, 5)));
  assert.equal(snapshot.revision, 5);
  assert.match(snapshot.hash, /^[0-9a-f]{64}$/);
  assert.equal(snapshot.site.sftp.maxAuthAttempts, 6);
  assert.equal(snapshot.accounts.get("ann")?.enabled, true);
  assert.deepEqual(
    snapshot.hostKeys,
    HOST_KEY_KINDS.map((kind) => `private ${kind}`),
  );
  assert.throws(() => {
    (snapshot.site.sftp as { maxAuthAttempts: number }).maxAuthAttempts = 1;
  }, TypeError);
  const ann = snapshot.accounts.get("ann");
  assert.ok(ann);
  assert.throws(() => ann.publicKeys.pop(), TypeError);
});

test("the hash goes by content: not by order, spelling or revision", () => {
  const a = entry(keys.account("a"), { name: "a" }, 5);
  const b = entry(keys.account("b"), { name: "b", enabled: false }, 6);
  const spelled = entry(keys.account("b"), ' { "enabled": false, "publicKeys": [], "name": "b" } ', 9);
  const hash = valid(wholeSite(a, b)).hash;
  assert.equal(valid(wholeSite(b, a)).hash, hash);
  assert.equal(valid(wholeSite(a, spelled)).hash, hash);
  assert.notEqual(valid(wholeSite(a)).hash, hash);
  const resealed = hostKeys.map(([key], at) => {
    const kind = HOST_KEY_KINDS[at] ?? "ed25519";
    return entry(key, sealHostKey(kind, `private ${kind}`, ring), 3);
  });
  assert.equal(valid([entry(keys.site, site, 2), ...resealed, a, b]).hash, hash);
});

test("the head gives the revision and isn't content", () => {
  const snapshot = valid(wholeSite(entry(CONFIG_HEAD, "x", 17)));
  assert.equal(snapshot.revision, 17);
  assert.equal(snapshot.hash, valid(wholeSite()).hash);
});

test("one entry that can't be used makes the whole invalid, and each fault is named", () => {
  const decoded = decodeConfig(
    wholeSite(
      entry(keys.account("a"), { name: "a", shell: "/bin/sh" }, 5),
      entry(keys.account("b"), "{", 5),
      entry(keys.account("c"), { name: "d" }, 5),
    ),
    ring,
  );
  assert.ok(!decoded.valid);
  assert.deepEqual(
    decoded.faults.map((fault) => fault.key),
    [keys.account("a"), keys.account("b"), keys.account("c")],
  );
  assert.match(decoded.faults[0]?.message ?? "", /shell/);
  assert.match(decoded.faults[2]?.message ?? "", /under another's key/);
});

test("what is missing is named", () => {
  const decoded = decodeConfig([], ring);
  assert.ok(!decoded.valid);
  assert.deepEqual(
    decoded.faults.map((fault) => fault.key),
    [keys.site, ...HOST_KEY_KINDS.map((kind) => hostKeyPath(kind))],
  );
});

test("host keys sealed with another key are a fault that names both keys", () => {
  const other = [sealKey(randomBytes(32))] as const;
  const decoded = decodeConfig(wholeSite(), other);
  assert.ok(!decoded.valid);
  assert.match(decoded.faults[0]?.message ?? "", new RegExp(`${ring[0].id}.*${other[0].id}`));
});

test("entries of kinds that this version doesn't know are left alone", () => {
  const more = entry("config/rules/1", "???", 9);
  assert.equal(valid(wholeSite(more)).hash, valid(wholeSite()).hash);
});

test("with the cache an unchanged entry isn't decoded again, a changed or deleted one is noticed", () => {
  const cache: DecodeCache = new Map();
  const first = valid(
    wholeSite(entry(keys.account("a"), { name: "a" }, 5), entry(keys.account("b"), { name: "b" }, 6)),
    cache,
  );
  const second = valid(wholeSite(entry(keys.account("a"), { name: "a", enabled: false }, 7)), cache);
  assert.equal(second.site, first.site);
  assert.equal(second.accounts.get("a")?.enabled, false);
  assert.equal(second.accounts.has("b"), false);
  assert.equal(second.hash, valid(wholeSite(entry(keys.account("a"), { name: "a", enabled: false }, 7))).hash);
});
