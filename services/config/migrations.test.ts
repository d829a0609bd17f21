import assert from "node:assert/strict";
import { test } from "node:test";
import { keys } from "#coordination/keys.js";
import { decodeValue, encodeValue, isNewerForm, kindOf } from "./kinds.js";
import { FIELDS_ADDED, formFields, MIGRATIONS, type Migrations, toOurForm } from "./migrations.js";

/** As a later version would have it: `alias` became `description`, then `limit` became `maxSessions`. */
const later: Migrations = {
  ...MIGRATIONS,
  group: [
    ({ alias, ...rest }) => ({ ...rest, ...(alias === undefined ? {} : { description: alias }) }),
    ({ limit, ...rest }) => ({ ...rest, ...(limit === undefined ? {} : { maxSessions: limit }) }),
  ],
};

test("an older form is brought up step by step, from wherever it stands", () => {
  const first = decodeValue("group", "g", '{"name":"g","alias":"x","limit":2}', later);
  assert.equal(first?.description, "x");
  assert.equal(first?.maxSessions, 2);
  const second = decodeValue("group", "g", '{"schema":2,"name":"g","limit":2}', later);
  assert.equal(second?.maxSessions, 2);
  assert.throws(() => decodeValue("group", "g", '{"schema":3,"name":"g","limit":2}', later), /limit/);
});

test("a newer form is read if it says that we may: what we don't know is passed over, what we do is checked", () => {
  const text = JSON.stringify({
    schema: 9,
    readableBy: 1,
    name: "g",
    maxSessions: 4,
    colour: "red",
    folders: [{ path: "/a", target: "x", mirror: true }],
  });
  const group = decodeValue("group", "g", text);
  assert.deepEqual(group, { name: "g", maxSessions: 4, folders: [{ path: "/a", target: "x" }] });
  assert.throws(() => decodeValue("group", "g", text.replace('"maxSessions":4', '"maxSessions":"many"')));
  assert.throws(() => decodeValue("group", "g", '{"schema":9,"name":"g"}'), /form 9.*upgrade it/);
  assert.throws(() => decodeValue("group", "g", '{"schema":2,"readableBy":2,"name":"g"}'), /form 2/);
});

test("settings with more fields: a node of the version before reads what the next one writes", () => {
  const next: Migrations = { ...MIGRATIONS, site: [FIELDS_ADDED] };
  const id = "0f8e7d6c-1111-4222-8333-444455556666";
  const written = JSON.stringify({ ...formFields("site", next, { site: 1 }), id, name: "s", ledger: { kept: true } });
  assert.equal(decodeValue("site", "", written)?.name, "s");
  assert.throws(() => decodeValue("site", "", JSON.stringify({ id, name: "s", ledger: {} })), /ledger/);
  const misread = JSON.stringify({ ...formFields("site", next), id, name: "s" });
  assert.throws(() => decodeValue("site", "", misread), /form 2/);
  // And what it wrote itself, the next one brings up.
  assert.equal(decodeValue("site", "", JSON.stringify({ id, name: "s" }), next)?.name, "s");
});

test("an unknown field of our own form is refused", () => {
  assert.throws(() => decodeValue("account", "ann", '{"name":"ann","shell":"x"}'), /shell/);
  assert.throws(() => decodeValue("account", "ann", '{"schema":1,"name":"ann","shell":"x"}'), /shell/);
});

test("nonsense about forms is refused", () => {
  for (const form of [
    { schema: 0 },
    { schema: "1" },
    { schema: 1.5 },
    { schema: 2, readableBy: 3 },
    { schema: 2, readableBy: 0 },
  ]) {
    assert.equal(toOurForm("group", { ...form, name: "g" }).readable, false, JSON.stringify(form));
  }
});

test("the first form isn't spelled out, a later one is", () => {
  assert.deepEqual(formFields("group"), {});
  assert.deepEqual(formFields("group", later), { schema: 3 });
  assert.deepEqual(formFields("group", later, { group: 2 }), { schema: 3, readableBy: 2 });
  assert.deepEqual(formFields("account", later, { group: 2 }), {});
  assert.equal(
    JSON.parse(encodeValue("account", { name: "a", enabled: true, publicKeys: [], groups: [], folders: [] })).schema,
    undefined,
  );
});

test("what a newer version wrote is known as such, damage isn't", () => {
  assert.equal(isNewerForm("account", '{"schema":2,"readableBy":1}'), true);
  assert.equal(isNewerForm("account", '{"schema":1}'), false);
  assert.equal(isNewerForm("account", "{"), false);
});

test("store keys tell the kind; host keys and strangers are none of the model", () => {
  assert.deepEqual(kindOf(keys.account("a/b")), { kind: "account", name: "a/b" });
  assert.deepEqual(kindOf(keys.secret("k")), { kind: "key", name: "k" });
  assert.deepEqual(kindOf(keys.site), { kind: "site", name: "" });
  assert.equal(kindOf(keys.secret("hostkey-ed25519")), undefined);
  assert.equal(kindOf("config/rules/1"), undefined);
  assert.equal(kindOf(keys.configHead), undefined);
  assert.equal(decodeValue("key", "k", '{"kind":"something-later","id":"k"}'), undefined);
});
