import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { effectiveAccount, mergeAccount } from "./effective.js";
import { type Group, groupSchema } from "./entries.js";
import { accountSchema } from "./schema.js";

const account = (fields: object = {}) => accountSchema.parse({ name: "ann", ...fields });
const group = (name: string, fields: object = {}): Group => groupSchema.parse({ name, ...fields });
const rules = (...allow: string[]) => [{ path: "/", allow }];

test("without groups an account may do everything in a home of its own name", () => {
  const merged = mergeAccount(account(), []);
  assert.equal(merged.home, "ann");
  assert.ok(merged.permissions[0]?.allow.includes("delete"));
});

test("field by field: its own, then the first group's that has it", () => {
  const one = group("one", { maxSessions: 3 });
  const two = group("two", {
    maxSessions: 5,
    permissions: rules("list"),
    home: "p/{account}",
    allowedAddresses: ["10.0.0.0/8"],
  });
  const merged = mergeAccount(account({ groups: ["one", "two"] }), [one, two]);
  assert.equal(merged.maxSessions, 3);
  assert.deepEqual(merged.permissions, rules("list"));
  assert.equal(merged.home, "p/ann");
  assert.deepEqual(merged.allowedAddresses, ["10.0.0.0/8"]);
  const own = account({ groups: ["two"], maxSessions: 9, permissions: rules("read"), home: "x", allowedAddresses: [] });
  const kept = mergeAccount(own, [two]);
  assert.deepEqual([kept.maxSessions, kept.permissions, kept.home, kept.allowedAddresses], [9, rules("read"), "x", []]);
});

test("a group that isn't there disables the account: what it would have forbidden isn't known", () => {
  assert.equal(mergeAccount(account({ groups: ["gone"] }), [undefined]).enabled, false);
  assert.equal(mergeAccount(account({ groups: ["g"] }), [group("g")]).enabled, true);
  assert.equal(mergeAccount(account({ enabled: false, groups: ["g"] }), [group("g")]).enabled, false);
});

test("folders are united; one path is the account's, and a folder's own permissions win at its path", () => {
  const merged = mergeAccount(
    account({ folders: [{ path: "/in", target: "mine" }], permissions: [{ path: "/in", allow: ["read"] }] }),
    [
      group("g", {
        folders: [
          { path: "/in", target: "theirs" },
          { path: "/out", target: "o", allow: ["list"] },
        ],
      }),
    ],
  );
  assert.deepEqual(
    merged.folders.map(({ path, target }) => [path, target]),
    [
      ["/out", "o"],
      ["/in", "mine"],
    ],
  );
  assert.deepEqual(merged.permissions, [
    { path: "/out", allow: ["list"] },
    { path: "/in", allow: ["read"] },
  ]);
});

test("a merge is made once for the same entries, and anew when a group changes", () => {
  const ann = account({ groups: ["g"] });
  const accounts = new Map([["ann", ann]]);
  const snapshot = (of: Group) => ({ accounts, groups: new Map([["g", of]]) });
  const one = group("g", { maxSessions: 1 });
  const first = effectiveAccount(snapshot(one), "ann");
  assert.equal(effectiveAccount(snapshot(one), "ann"), first);
  assert.equal(effectiveAccount(snapshot(group("g", { maxSessions: 2 })), "ann")?.maxSessions, 2);
  assert.equal(effectiveAccount(snapshot(one), "ben"), undefined);
});

test("whatever the groups: never more than one folder at a path, and the first one in order", () => {
  const folder = fc.record({ path: fc.constantFrom("/a", "/b", "/a/b"), target: fc.constantFrom("x", "y", "z") });
  const list = fc.uniqueArray(folder, { selector: ({ path }) => path });
  fc.assert(
    fc.property(list, list, list, (own, first, second) => {
      const merged = mergeAccount(account({ folders: own }), [
        group("1", { folders: first }),
        group("2", { folders: second }),
      ]);
      const all = [...own, ...first, ...second];
      const paths = merged.folders.map(({ path }) => path);
      assert.deepEqual([...paths].sort(), [...new Set(all.map(({ path }) => path))].sort());
      for (const { path, target } of merged.folders)
        assert.equal(all.find((each) => each.path === path)?.target, target);
    }),
  );
});
