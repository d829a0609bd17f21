import assert from "node:assert/strict";
import { test } from "node:test";
import { accountLifeSchema } from "#config/life-schema.js";
import { lifeFault } from "./life.js";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const site = (passwordMaxAgeDays: number) => ({ accountLife: accountLifeSchema.parse({ passwordMaxAgeDays }) });

test("an expired account is refused by password and by key, from the very moment on", () => {
  const account = { expiresAt: "2026-11-21T13:00:00+01:00" };
  for (const method of ["password", "publickey"] as const) {
    assert.match(lifeFault(account, site(0), method, NOW) ?? "", /account has expired/);
    assert.equal(lifeFault(account, site(0), method, NOW - 1), undefined);
  }
});

test("a password that is too old is refused; a key still opens", () => {
  const account = { passwordChangedAt: "2026-08-01T00:00:00Z" };
  assert.match(lifeFault(account, site(90), "password", NOW) ?? "", /password has expired/);
  assert.equal(lifeFault(account, site(90), "publickey", NOW), undefined);
  assert.equal(lifeFault(account, site(0), "password", NOW), undefined);
  assert.equal(lifeFault({}, site(90), "password", NOW), undefined, "its age isn't known");
});
