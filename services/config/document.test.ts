import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { sealKey } from "#lib/seal.js";
import { checkSite } from "./check.js";
import { type CurrentConfig, changeFaults, withChanges } from "./configuration.js";
import { describeChanges, documentSchema, planDocument, toDocument } from "./document.js";
import { siteSchema } from "./schema.js";
import { noEntries } from "./snapshot.js";

const ring = [sealKey(randomBytes(32))] as const;
const site = siteSchema.parse({ id: "0f8e7d6c-1111-4222-8333-444455556666", name: "t" });
const empty: CurrentConfig = { model: { ...noEntries(), site }, entries: new Map(), revision: 1 };

const name = fc.constantFrom("a", "b", "c");
const path = fc.constantFrom("/in", "/out", "/in/deep");
/** Mostly what is valid, so that many documents are accepted, and now and then what isn't. */
const mostly = <T, U>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<U>) =>
  fc.oneof({ weight: 40, arbitrary: good }, { weight: 1, arbitrary: bad });
const folder = fc.record({ path, target: mostly(fc.constantFrom("x", "y"), fc.constant("../z")) });
const folders = fc.uniqueArray(folder, { maxLength: 3, selector: (each) => each.path });
const group = fc.record(
  {
    home: mostly(fc.constantFrom("p/{account}", "x"), fc.constant(".{account}/..")),
    maxSessions: mostly(fc.integer({ min: 1, max: 4 }), fc.constant(0)),
    folders,
  },
  { requiredKeys: [] },
);
const account = fc.record(
  { groups: mostly(fc.uniqueArray(fc.constantFrom("a", "b")), fc.constant(["none"])), enabled: fc.boolean(), folders },
  { requiredKeys: [] },
);
const administrator = fc.record({ role: fc.constantFrom("admin", "viewer"), enabled: fc.boolean() });
const profile = fc.record(
  {
    protocol: fc.constant("sftp"),
    host: fc.constant("h"),
    user: fc.constant("u"),
    hostKeys: fc.constant([`SHA256:${"A".repeat(43)}`]),
    key: mostly(fc.constant(undefined), name),
    secret: fc.constantFrom("one", "two", null),
  },
  { requiredKeys: ["protocol", "host", "user", "hostKeys"] },
);
const document = fc.record(
  {
    groups: mostly(
      fc.record({ a: group, b: group, c: group }, { requiredKeys: ["a", "b"] }),
      fc.dictionary(name, group),
    ),
    accounts: fc.dictionary(name, account),
    administrators: fc.dictionary(name, administrator),
    profiles: fc.dictionary(name, profile),
  },
  { requiredKeys: [] },
);

test("whatever documents are applied: what is accepted is sound, complete, the same when applied again, and reads back", () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(fc.tuple(document, fc.boolean()), { maxLength: 6 }), (steps) => {
      let current = empty;
      for (const [input, prune] of steps) {
        const parsed = documentSchema.parse(input);
        const { changes, faults } = planDocument(parsed, current, { prune, ring });
        if (faults.length > 0 || changeFaults(current, changes, true).length > 0) continue;
        accepted += 1;
        assert.equal(describeChanges(changes, current).length, changes.length);
        assert.ok(!/ls1:|"one"|"two"/.test(JSON.stringify(describeChanges(changes, current))), "a secret shows");
        const before = current.model;
        current = { ...current, model: withChanges(before, changes) };
        assert.deepEqual(checkSite(current.model, before), []);
        for (const section of ["groups", "accounts", "administrators", "profiles"] as const) {
          const wanted = Object.keys(parsed[section] ?? {});
          const there = [...current.model[section].keys()];
          assert.ok(
            wanted.every((each) => there.includes(each)),
            section,
          );
          if (prune && parsed[section] !== undefined) assert.equal(there.length, wanted.length, section);
          if (parsed[section] === undefined) assert.deepEqual(there, [...before[section].keys()]);
        }
        assert.deepEqual(planDocument(parsed, current, { prune, ring }), { changes: [], faults: [] }, "applied twice");
        const read = documentSchema.parse(JSON.parse(JSON.stringify(toDocument(current.model))));
        assert.deepEqual(planDocument(read, current, { prune: true, ring }), { changes: [], faults: [] }, "read back");
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(accepted > 100, `only ${accepted} documents were accepted`);
});
