import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type ConnectionFacts,
  decideUpkeep,
  MAX_UNSENT_BYTES,
  REKEY_BYTES,
  REKEY_DEADLINE_MS,
  REKEY_MS,
} from "./upkeep.js";

const settings = { keepaliveMs: 30_000, idleTimeoutMs: 900_000 };
const now = 10_000_000;
const calm: ConnectionFacts = {
  now,
  heardAt: now,
  unanswered: 0,
  askedAt: 0,
  paused: false,
  bytesSinceKeys: 0,
  keysAt: now,
  rekeyingSince: undefined,
  activeAt: now,
  working: false,
  unsentBytes: 0,
};
const decide = (facts: Partial<ConnectionFacts>, of = settings) => decideUpkeep({ ...calm, ...facts }, of);

test("a connection that speaks needs nothing", () => {
  assert.equal(decide({}).act, "none");
});

test("a silent client is asked, three times, and then given up", () => {
  assert.equal(decide({ heardAt: now - 29_999 }).act, "none");
  assert.equal(decide({ heardAt: now - 30_000 }).act, "keepalive");
  assert.equal(decide({ heardAt: now - 59_000, unanswered: 1, askedAt: now - 29_000 }).act, "none");
  assert.equal(decide({ heardAt: now - 90_000, unanswered: 2, askedAt: now - 30_000 }).act, "keepalive");
  assert.equal(decide({ heardAt: now - 119_000, unanswered: 3, askedAt: now - 29_000 }).act, "none");
  const end = decide({ heardAt: now - 120_000, unanswered: 3, askedAt: now - 30_000 });
  assert.deepEqual([end.act, end.act === "end" && end.reason], ["end", "keepalive"]);
});

test("a client that we don't read from is never ended for its silence", () => {
  const silent = { heardAt: now - 1_000_000, askedAt: now - 900_000, unanswered: 3, paused: true, working: true };
  assert.equal(decide(silent).act, "none");
  assert.equal(decide({ ...silent, rekeyingSince: now - 2 * REKEY_DEADLINE_MS }).act, "none");
});

test("keepalives and the idle time-out can be turned off", () => {
  const off = { keepaliveMs: 0, idleTimeoutMs: 0 };
  assert.equal(decide({ heardAt: 0, activeAt: 0 }, off).act, "none");
});

test("idle is who asks for nothing; a slow request under way is no idleness", () => {
  const idle = decide({ activeAt: now - 900_000 });
  assert.deepEqual([idle.act, idle.act === "end" && idle.reason], ["end", "idle"]);
  assert.equal(decide({ activeAt: now - 900_000, working: true }).act, "none");
  assert.equal(decide({ activeAt: now - 899_999 }).act, "none");
});

test("keys are changed after a gigabyte or an hour, and never while a change is under way", () => {
  assert.equal(decide({ bytesSinceKeys: REKEY_BYTES - 1 }).act, "none");
  assert.equal(decide({ bytesSinceKeys: REKEY_BYTES }).act, "rekey");
  assert.equal(decide({ keysAt: now - REKEY_MS }).act, "rekey");
  assert.equal(decide({ bytesSinceKeys: 3 * REKEY_BYTES, rekeyingSince: now - 1_000 }).act, "none");
});

test("a key exchange that isn't finished, and replies that pile up unread, end the connection", () => {
  const stuck = decide({ rekeyingSince: now - REKEY_DEADLINE_MS });
  assert.deepEqual([stuck.act, stuck.act === "end" && stuck.reason], ["end", "protocol"]);
  const flood = decide({ unsentBytes: MAX_UNSENT_BYTES + 1, working: true });
  assert.deepEqual([flood.act, flood.act === "end" && flood.reason], ["end", "protocol"]);
});
