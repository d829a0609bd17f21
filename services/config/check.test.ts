import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type ConfigModel, checkSite, newFaults, relativeTo } from "./check.js";
import { administratorSchema, groupSchema, profileSchema, sshKeySchema } from "./entries.js";
import { accountSchema, siteSchema } from "./schema.js";
import { noEntries } from "./snapshot.js";

interface Parts {
  readonly addressRules?: object;
  readonly accounts?: readonly object[];
  readonly groups?: readonly object[];
  readonly profiles?: readonly object[];
  readonly keys?: readonly object[];
  readonly administrators?: readonly object[];
}

function modelOf(parts: Parts): ConfigModel {
  const { accounts = [], groups = [], profiles = [], keys = [], administrators = [], addressRules } = parts;
  const site = { id: "0f8e7d6c-1111-4222-8333-444455556666", name: "t", ...(addressRules && { addressRules }) };
  return {
    ...noEntries(),
    site: siteSchema.parse(site),
    accounts: new Map(accounts.map((each) => accountSchema.parse(each)).map((each) => [each.name, each])),
    groups: new Map(groups.map((each) => groupSchema.parse(each)).map((each) => [each.name, each])),
    profiles: new Map(profiles.map((each) => profileSchema.parse(each)).map((each) => [each.id, each])),
    keys: new Map(keys.map((each) => sshKeySchema.parse(each)).map((each) => [each.id, each])),
    administrators: new Map(
      administrators.map((each) => administratorSchema.parse(each)).map((each) => [each.name, each]),
    ),
  };
}

const pathsIn = (parts: Parts, before?: Parts) =>
  checkSite(modelOf(parts), before && modelOf(before)).map(({ path }) => path);

const profile = { id: "bank", protocol: "sftp", host: "h", user: "u", hostKeys: [`SHA256:${"A".repeat(43)}`] };
const key = { kind: "ssh-key", id: "k", publicKey: "ssh-ed25519 AAAA" };

test("a sound configuration has no faults", () => {
  const folders = [
    { path: "/in", target: "shared/in" },
    { path: "/in/deep", target: "shared/deep" },
  ];
  assert.deepEqual(
    pathsIn({
      accounts: [{ name: "ann", groups: ["partners"], folders: [{ path: "/in", target: "own/in" }] }],
      groups: [{ name: "partners", home: "partners/{account}", folders }],
      profiles: [{ ...profile, key: "k" }],
      keys: [{ ...key, sealed: "ls1:00000000:AAAA" }],
    }),
    [],
  );
});

test("references to nothing are named with their place", () => {
  assert.deepEqual(pathsIn({ accounts: [{ name: "ann", groups: ["a", "b"] }], groups: [{ name: "a" }] }), [
    "accounts/ann.groups.1",
  ]);
  assert.deepEqual(pathsIn({ profiles: [{ ...profile, key: "gone" }] }), ["profiles/bank.key"]);
  assert.deepEqual(pathsIn({ profiles: [{ ...profile, key: "k" }], keys: [key] }), ["profiles/bank.key"]);
});

test("a home that a template leads into the private directory is refused, though template and name are each fine", () => {
  assert.deepEqual(
    pathsIn({ accounts: [{ name: "longshore", groups: ["g"] }], groups: [{ name: "g", home: "x/.{account}" }] }),
    ["accounts/longshore.home"],
  );
  for (const home of ["../x", "/x", "a/../b", ".longshore/x", "{account}/..", "{user}", "a/.longshore", ""]) {
    assert.equal(groupSchema.safeParse({ name: "g", home }).success, false, home);
  }
});

test("folders neither lead outside nor share a path in one entry", () => {
  const folders = [
    { path: "/a", target: "x" },
    { path: "/a", target: "y" },
  ];
  assert.deepEqual(pathsIn({ accounts: [{ name: "ann", folders }], groups: [{ name: "g", folders }] }), [
    "accounts/ann.folders.1.path",
    "groups/g.folders.1.path",
  ]);
  for (const folder of [
    { path: "/", target: "x" },
    { path: "/a/", target: "x" },
    { path: "/a/../b", target: "x" },
    { path: "a", target: "x" },
    { path: "/a", target: ".." },
    { path: "/a", target: "/etc" },
    { path: "/a", target: "x/.longshore/ops" },
    { path: "/a", target: "x\0y" },
  ]) {
    assert.equal(groupSchema.safeParse({ name: "g", folders: [folder] }).success, false, JSON.stringify(folder));
  }
});

test("rules that let nobody in are refused, any others aren't", () => {
  const faults = (allow: string[], deny: string[]) => pathsIn({ addressRules: { allow, deny } }).length;
  assert.equal(faults([], []), 0);
  assert.equal(faults([], ["10.0.0.0/8"]), 0);
  assert.equal(faults([], ["0.0.0.0/0"]), 1);
  assert.equal(faults([], ["0.0.0.0/1", "128.0.0.0/1", "::/0"]), 1);
  assert.equal(faults(["10.0.0.0/8"], ["10.0.0.0/9", "10.128.0.0/9"]), 1);
  assert.equal(faults(["10.0.0.0/8"], ["10.0.0.0/9"]), 0);
  assert.equal(faults(["2001:db8::/32"], ["0.0.0.0/0"]), 0);
});

test("the last administrator who may do everything can't go, be disabled, or step down; without any, none is demanded", () => {
  const admin = { name: "root", role: "admin" };
  const viewer = { name: "v", role: "viewer" };
  assert.deepEqual(pathsIn({ administrators: [viewer] }, { administrators: [admin, viewer] }), ["administrators"]);
  assert.deepEqual(pathsIn({ administrators: [{ ...admin, enabled: false }] }, { administrators: [admin] }), [
    "administrators",
  ]);
  assert.deepEqual(pathsIn({ administrators: [{ ...admin, role: "operator" }] }, { administrators: [admin] }), [
    "administrators",
  ]);
  assert.deepEqual(pathsIn({ administrators: [{ ...admin, name: "other" }] }, { administrators: [admin] }), []);
  assert.deepEqual(pathsIn({}, { administrators: [viewer] }), []);
});

test("only what a change brings counts against it, and paths of the entry itself are told as its own", () => {
  const before = [{ path: "accounts/old.groups.0", message: "there is no group" }];
  const after = [...before, { path: "accounts/ann.groups.0", message: "there is no group" }];
  assert.deepEqual(relativeTo("account", "ann", newFaults(after, before)), [
    { path: "groups.0", message: "there is no group" },
  ]);
});

test("with any groups and accounts: a fault for each dangling name, and no other", () => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const accounts = fc.array(fc.uniqueArray(name, { maxLength: 4 }), { maxLength: 5 });
  fc.assert(
    fc.property(accounts, fc.uniqueArray(name), (lists, groups) => {
      const parts = {
        accounts: lists.map((each, at) => ({ name: `p${at}`, groups: each })),
        groups: groups.map((each) => ({ name: each })),
      };
      const expected = lists.flatMap((each, at) =>
        each.flatMap((group, index) => (groups.includes(group) ? [] : [`accounts/p${at}.groups.${index}`])),
      );
      assert.deepEqual(pathsIn(parts), expected);
    }),
  );
});
