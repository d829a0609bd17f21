import assert from "node:assert/strict";
import { test } from "node:test";
import type { Verdict } from "#auth/contract.js";
import { BUSY } from "#auth/verifier.js";
import { accountSchema } from "#config/schema.js";
import { EXTRA_REQUESTS, FRESH_LOGIN, type LoginRequest, onRequest, onVerdict } from "./login-policy.js";

const MAX = 3;
const password: LoginRequest = { kind: "proof", method: "password" };
const query: LoginRequest = { kind: "query" };
const no: Verdict = { accepted: false, reason: "wrong password" };
const yes: Verdict = { accepted: true, account: accountSchema.parse({ name: "alice" }), method: "password" };

test("'none' and what isn't offered get the list of methods, and cost no attempt", () => {
  for (const kind of ["none", "unsupported"] as const) {
    const { act, state } = onRequest(FRESH_LOGIN, { kind }, MAX);
    assert.equal(act, "list-methods");
    assert.deepEqual(state, { attempts: 0, requests: 1 });
  }
});

test("an attempt is counted before it is checked", () => {
  const { act, state } = onRequest(FRESH_LOGIN, password, MAX);
  assert.equal(act, "proceed");
  assert.equal(state.attempts, 1);
});

test("the last permitted wrong credential ends the connection, with a word to the client", () => {
  let state = FRESH_LOGIN;
  for (let attempt = 1; attempt <= MAX; attempt++) {
    state = onRequest(state, password, MAX).state;
    const decision = onVerdict(state, password, no, MAX);
    assert.equal(decision.act, attempt < MAX ? "list-methods" : "disconnect");
    if (decision.act === "disconnect") assert.deepEqual([decision.cause, decision.say], ["attempts", true]);
  }
});

test("attempts that were aborted before their verdict count: the next one isn't even checked", () => {
  let state = FRESH_LOGIN;
  for (let attempt = 0; attempt < MAX; attempt++) state = onRequest(state, password, MAX).state;
  assert.equal(onRequest(state, password, MAX).act, "disconnect");
  assert.equal(onRequest(state, { kind: "none" }, MAX).act, "list-methods");
});

test("a right credential is accepted at the last attempt", () => {
  const state = { attempts: MAX, requests: MAX };
  assert.equal(onVerdict(state, password, yes, MAX).act, "accept");
});

test("an agent's many unknown keys don't use up the attempts, but they end somewhere", () => {
  let state = FRESH_LOGIN;
  for (let key = 0; key < EXTRA_REQUESTS; key++) {
    const decision = onRequest(state, query, MAX);
    state = decision.state;
    assert.equal(decision.act, "proceed");
    assert.equal(onVerdict(state, query, no, MAX).act, "list-methods");
  }
  assert.equal(onRequest(state, password, MAX).act, "proceed");
  state = { attempts: 0, requests: MAX + EXTRA_REQUESTS };
  assert.equal(onRequest(state, query, MAX).act, "disconnect");
  assert.equal(onRequest(state, { kind: "prompt" }, MAX).act, "disconnect");
});

test("a key that would do is no login: the client has to sign", () => {
  const accepted: Verdict = { ...yes, accepted: true, method: "publickey" };
  assert.equal(onVerdict({ attempts: 0, requests: 1 }, query, accepted, MAX).act, "ask-for-signature");
  assert.equal(
    onVerdict({ attempts: 1, requests: 2 }, { kind: "proof", method: "publickey" }, accepted, MAX).act,
    "accept",
  );
});

test("an overloaded check ends the connection without a refusal, so that clients try again", () => {
  const busy: Verdict = { accepted: false, reason: BUSY };
  const decision = onVerdict({ attempts: 1, requests: 1 }, password, busy, MAX);
  assert.equal(decision.act, "disconnect");
  if (decision.act === "disconnect") assert.deepEqual([decision.cause, decision.say], ["busy", false]);
});
