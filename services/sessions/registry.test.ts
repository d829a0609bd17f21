import assert from "node:assert/strict";
import { test } from "node:test";
import { isCode } from "#lib/errors.js";
import { createSessionRegistry, type RegisteredSession } from "./registry.js";

function session(account: string): RegisteredSession {
  return {
    id: Math.random().toString(16).slice(2, 14),
    account,
    address: "192.0.2.1",
    port: 40_000,
    protocol: "sftp",
    method: "password",
    credential: undefined,
    since: 0,
    end() {},
  };
}

test("an account's limit counts what it has here and elsewhere; leaving gives one place back, once", () => {
  let away = 1;
  let limits = 0;
  const registry = createSessionRegistry({
    objection: () => undefined,
    maxSessions: (account) => (account === "ann" ? 3 : undefined),
    elsewhere: (account) => (account === "ann" ? away : 0),
    onLimit: () => void limits++,
  });
  const leave = registry.admit(session("ann"));
  registry.admit(session("ann"));
  assert.throws(
    () => registry.admit(session("ann")),
    (error) => isCode(error, "limit"),
  );
  assert.equal(limits, 1);
  leave();
  leave();
  assert.equal(registry.counts().get("ann"), 1);
  registry.admit(session("ann"));
  away = 0;
  registry.admit(session("ann"));
  assert.throws(
    () => registry.admit(session("ann")),
    (error) => isCode(error, "limit"),
  );
  for (let i = 0; i < 50; i++) registry.admit(session("bob"));
  assert.equal(registry.list().length, 53);
});

test("what changed since the check keeps a session from beginning", () => {
  const registry = createSessionRegistry({
    objection: ({ account }) => (account === "ann" ? "the account was disabled" : undefined),
    maxSessions: () => undefined,
    elsewhere: () => 0,
  });
  assert.throws(
    () => registry.admit(session("ann")),
    (error) => isCode(error, "permission-denied"),
  );
  assert.deepEqual([registry.list().length, registry.counts().size], [0, 0]);
});

test("counts are told at each change, and leave nothing behind", () => {
  const told: string[] = [];
  const registry = createSessionRegistry({ objection: () => undefined, maxSessions: () => 1, elsewhere: () => 0 });
  registry.onChange((account) => void told.push(account));
  registry.admit(session("ann"))();
  assert.deepEqual(told, ["ann", "ann"]);
  assert.equal(registry.counts().size, 0);
});
