import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { type KeyRing, open, SealError, seal, sealKey } from "#lib/seal.js";
import { HOST_KEY_KINDS, hostKeyPath, openHostKey, sealHostKey } from "./host-keys.js";
import { resealEntry, rotateClusterKey } from "./rotation.js";
import { createSiteDocuments } from "./site-documents.js";
import { decodeConfig } from "./snapshot.js";

const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEo6YcGBhqzfKlPv2uQvvzGz1W8y4p6G0k3o1o0m8m3Q";
const [older, newer] = [sealKey(randomBytes(32)), sealKey(randomBytes(32))];
const before: KeyRing = [older, newer];
const rotated: KeyRing = [newer, older];

test("everything is sealed with the first key, the history too; then the old key isn't needed any more", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "longshore-rotation-"));
  const coordination = createEmbeddedCoordination({ directory });
  t.after(async () => {
    await coordination.close();
    await rm(directory, { recursive: true, force: true });
  });
  const hostKeys = HOST_KEY_KINDS.map((kind) => ({
    put: hostKeyPath(kind),
    value: sealHostKey(kind, `private ${kind}`, before),
  }));
  const site = { put: keys.site, value: JSON.stringify({ id: "0f8e7d6c-1111-4222-8333-444455556666", name: "t" }) };
  await coordination.transact({ compare: [], apply: [site, ...hostKeys] });
  const documents = createSiteDocuments({ coordination, clusterKey: before });
  const first = await documents.apply({ keys: { k: { publicKey, secret: "one" } }, accounts: { ann: {} } }, true, {});
  const second = await documents.apply({ keys: { k: { publicKey, secret: "two" } } }, true, {});

  // One of somebody else's changes comes in between: the rotation takes it along and undoes nothing.
  const racing = documents.put("key", "late", { publicKey, secret: "late" }, undefined, {});
  const done = await rotateClusterKey(coordination, rotated);
  await racing;
  await rotateClusterKey(coordination, rotated);
  assert.equal(done.key, newer.id);
  assert.ok(done.resealed >= HOST_KEY_KINDS.length + 2, `${done.resealed}`);

  const all = await coordination.list("");
  assert.ok(!all.entries.some(({ value }) => value.includes(`ls1:${older.id}:`)), "the old key is still in use");
  const decoded = decodeConfig((await coordination.list(keys.configPrefix)).entries, [newer]);
  assert.ok(decoded.valid, JSON.stringify(decoded));
  assert.deepEqual(
    decoded.snapshot.hostKeys,
    HOST_KEY_KINDS.map((kind) => `private ${kind}`),
  );
  assert.ok(decoded.snapshot.keys.has("late"));
  const revisions = (await documents.history()).map(({ revision }) => revision);
  assert.deepEqual(revisions.slice(-2), [second.revision, first.revision], "the history's revisions stay");
  const now = createSiteDocuments({ coordination, clusterKey: [newer] });
  await now.rollback(first.revision, {});
  assert.equal(open((await now.get("key", "k"))?.value.sealed ?? "", [newer], keys.secret("k")).toString(), "one");
  assert.equal((await rotateClusterKey(coordination, rotated)).resealed, 0, "a second run has nothing to do");
});

test("an envelope stays bound to its place, and one of a strange key stops the rotation", () => {
  const text = sealHostKey("ed25519", "private", before);
  const anew = resealEntry(text, hostKeyPath("ed25519"), rotated);
  assert.equal(openHostKey(hostKeyPath("ed25519"), anew ?? "", [newer]), "private");
  assert.equal(resealEntry(anew ?? "", hostKeyPath("ed25519"), rotated), undefined);
  assert.throws(() => resealEntry(text, hostKeyPath("rsa-3072"), rotated), SealError);
  const strange = JSON.stringify({ sealed: seal("x", sealKey(randomBytes(32)), "k") });
  assert.throws(() => resealEntry(strange, "k", rotated), SealError);
  assert.equal(resealEntry('{"description":"ls1: is how they start"}', "k", rotated), undefined);
});
