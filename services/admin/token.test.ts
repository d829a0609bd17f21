import assert from "node:assert/strict";
import { test } from "node:test";
import type { Administrator } from "#config/entries.js";
import { type Access, type Principal, refusalOf } from "./principal.js";
import { createAuthenticator, newToken } from "./token.js";

const SITE = "0123456789abcdef";
const NOW = Date.parse("2026-01-01T00:00:00Z");

function bench(...administrators: Administrator[]) {
  let map: ReadonlyMap<string, Administrator> | undefined = new Map(administrators.map((one) => [one.name, one]));
  const authenticate = createAuthenticator({ siteToken: () => SITE, administrators: () => map, now: () => NOW });
  const become = (next: typeof map) => {
    map = next;
  };
  return { authenticate, become };
}

function ann(more: Partial<Administrator> = {}, expiresAt?: string): { one: Administrator; text: string } {
  const { id, hash, text } = newToken();
  const token = { id, hash, scopes: ["read" as const], createdAt: "2025-01-01T00:00:00Z" };
  const tokens = [expiresAt === undefined ? token : { ...token, expiresAt }];
  return { one: { name: "ann", role: "viewer", enabled: true, tokens, ...more }, text };
}

test("the site's token, and only it, opens the door before there is an administrator", () => {
  const { authenticate } = bench();
  for (const word of ["Bearer", "bearer"]) {
    assert.deepEqual(authenticate(`${word} ${SITE}`), { name: "site token", role: "admin", scopes: ["*"] });
  }
  for (const header of [undefined, "", "Bearer", "Bearer ", `Basic ${SITE}`, SITE, "Bearer a b"]) {
    assert.equal(authenticate(header), "missing", header);
  }
  for (const token of [SITE.toUpperCase(), SITE.slice(1), `${SITE}0`]) {
    assert.equal(authenticate(`Bearer ${token}`), "unknown", token);
  }
});

test("an empty site token would open nothing", () => {
  assert.equal(createAuthenticator({ siteToken: () => "", administrators: () => undefined })("Bearer "), "missing");
});

test("an administrator's token is known by its id and proved by its secret", () => {
  const { one, text } = ann();
  assert.match(text, /^lsa_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/);
  const { authenticate } = bench(one);
  assert.deepEqual(authenticate(`Bearer ${text}`), {
    name: "ann",
    role: "viewer",
    scopes: ["read"],
    tokenId: one.tokens[0]?.id,
  });
  const other = text.endsWith("A") ? "B" : "A";
  assert.equal(authenticate(`Bearer ${text.slice(0, -1)}${other}`), "unknown");
  assert.equal(authenticate(`Bearer ${newToken().text}`), "unknown");
});

test("a token ends with its time, its administrator, and its entry", () => {
  const late = ann({}, "2026-01-01T00:00:00Z");
  assert.equal(bench(late.one).authenticate(`Bearer ${late.text}`), "expired");
  const soon = ann({}, "2026-01-01T00:00:01Z");
  assert.equal(typeof bench(soon.one).authenticate(`Bearer ${soon.text}`), "object");
  const off = ann({ enabled: false });
  assert.equal(bench(off.one).authenticate(`Bearer ${off.text}`), "disabled");
  const { one, text } = ann();
  const { authenticate, become } = bench(one);
  assert.equal(typeof authenticate(`Bearer ${text}`), "object");
  become(new Map([["ann", { ...one, tokens: [] }]]));
  assert.equal(authenticate(`Bearer ${text}`), "unknown");
  become(undefined);
  assert.equal(authenticate(`Bearer ${text}`), "loading");
});

test("role and scope must both allow a route", () => {
  const who = (role: Principal["role"], ...scopes: Principal["scopes"]): Principal => ({ name: "ann", role, scopes });
  const view: Access = { scope: "accounts", role: "viewer" };
  const write: Access = { scope: "accounts", role: "admin" };
  const drain: Access = { scope: "nodes", role: "operator" };
  assert.equal(refusalOf(who("viewer", "read"), view, true), undefined);
  assert.equal(refusalOf(who("viewer", "accounts"), view, true), undefined);
  assert.equal(refusalOf(who("viewer", "nodes"), view, true), "scope");
  assert.equal(refusalOf(who("viewer", "*"), write, false), "role");
  assert.equal(refusalOf(who("operator", "*"), write, false), "role");
  assert.equal(refusalOf(who("operator", "nodes"), drain, false), undefined);
  assert.equal(refusalOf(who("operator", "read"), drain, false), "scope");
  assert.equal(refusalOf(who("admin", "read"), write, false), "scope");
  assert.equal(refusalOf(who("admin", "accounts"), write, false), undefined);
  assert.equal(refusalOf(who("viewer", "nodes"), "self", true), undefined);
});

test("`read` opens nothing that a viewer may not read", () => {
  const admin: Principal = { name: "ann", role: "admin", scopes: ["read"] };
  assert.equal(refusalOf(admin, { scope: "backup", role: "admin" }, true), "scope");
});
