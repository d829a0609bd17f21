import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import type { Entry } from "#coordination/contract.js";
import { sealKey } from "#lib/seal.js";
import {
  ageOf,
  type Contact,
  decodeContact,
  decodeKept,
  encodeContact,
  encodeKept,
  KeptSnapshotError,
} from "./kept.js";

const ring = [sealKey(randomBytes(32))] as const;
const whose = { ring, site: "test", nodeId: randomUUID() };
const entries: Entry[] = [
  { key: "config/site", value: '{"name":"a\nb"}', createRevision: 1, modRevision: 7 },
  { key: "config/accounts/ann", value: "mac 00", createRevision: 2, modRevision: 3 },
];
const kept = { revision: 7, at: 1_000, entries };
const text = [...encodeKept(kept, whose)].join("");

test("what was kept comes back as it was", () => {
  assert.deepEqual(decodeKept(text, whose), kept);
});

test("any number of entries, with any text in them, comes back", () => {
  const revision = fc.integer({ min: 1, max: 2 ** 40 });
  const one = fc.record({
    key: fc.string({ minLength: 1, unit: "grapheme" }),
    value: fc.string({ unit: "grapheme" }),
    createRevision: revision,
    modRevision: revision,
  });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 600 }), (some) => {
      const whole = { revision: 1, at: 0, entries: some.map((each) => ({ ...each })) };
      assert.deepEqual(decodeKept([...encodeKept(whole, whose)].join(""), whose), whole);
    }),
    { numRuns: 50 },
  );
});

test("each changed character and each cut is found", () => {
  for (let at = 0; at < text.length; at++) {
    const other = text[at] === "0" ? "1" : "0";
    const changed = text.slice(0, at) + other + text.slice(at + 1);
    assert.throws(() => decodeKept(changed, whose), KeptSnapshotError, `character ${at}`);
    assert.throws(() => decodeKept(text.slice(0, at), whose), KeptSnapshotError, `cut at ${at}`);
  }
  assert.throws(() => decodeKept(`${text}x`, whose), KeptSnapshotError);
});

test("another node's, another site's and another key's snapshot is refused; an older key of the ring still opens", () => {
  const newer = sealKey(randomBytes(32));
  assert.throws(() => decodeKept(text, { ...whose, nodeId: randomUUID() }), /another node's/);
  assert.throws(() => decodeKept(text, { ...whose, site: "other" }), /another node's/);
  assert.throws(() => decodeKept(text, { ...whose, ring: [newer] }), /another node's/);
  assert.deepEqual(decodeKept(text, { ...whose, ring: [newer, ...ring] }), kept);
  const older = text.replace("config-snapshot 1", "config-snapshot 0");
  assert.throws(() => decodeKept(older, whose), /of this version/);
});

const contact: Contact = { revision: 7, wallMs: 1_000_000, bootId: "b1", uptimeMs: 5_000 };

test("the note of the last contact is authenticated, too, and a snapshot's code isn't one for a note", () => {
  const note = encodeContact(contact, whose);
  assert.deepEqual(decodeContact(note, whose), contact);
  assert.throws(() => decodeContact(note.replace("1000000", "9000000"), whose), KeptSnapshotError);
  assert.throws(() => decodeContact(note, { ...whose, nodeId: randomUUID() }), KeptSnapshotError);
  assert.throws(() => decodeContact(text, whose), KeptSnapshotError);
});

test("within a boot the age is told by the time since boot, whatever somebody sets the clock to", () => {
  const now = { bootId: "b1", uptimeMs: 65_000, wallMs: 0 };
  assert.equal(ageOf(kept, contact, now), 60_000);
  assert.equal(ageOf(kept, contact, { ...now, wallMs: 9e15 }), 60_000);
});

test("after a reboot the wall clock tells; one that was set back tells nothing", () => {
  const now = { bootId: "b2", uptimeMs: 1, wallMs: 1_030_000 };
  assert.equal(ageOf(kept, contact, now), 30_000);
  assert.equal(ageOf(kept, contact, { ...now, wallMs: 999_999 }), undefined);
});

test("a contact with a newer configuration than the one that was kept proves nothing", () => {
  const now = { bootId: "b1", uptimeMs: 65_000, wallMs: 0 };
  assert.equal(ageOf({ ...kept, revision: 6 }, contact, now), undefined);
  assert.equal(ageOf({ ...kept, revision: 8 }, contact, now), 60_000, "an older one only makes it look older");
});
