import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type AccountLife, accountLifeSchema } from "#config/life-schema.js";
import { type Account, accountSchema } from "#config/schema.js";
import { DAY_MS, LATE_LOGIN_MS, type LifeAction, planLife, type Usage } from "./plan.js";

const NOW = Date.parse("2026-11-21T12:00:00Z");
const daysAgo = (days: number) => NOW - days * DAY_MS;
const iso = (moment: number) => new Date(moment).toISOString();
const account = (more: Partial<Account> = {}): Account =>
  accountSchema.parse({ name: "ann", mail: "ann@example.org", ...more });

function plan(more: Partial<Account>, settings: Partial<AccountLife>, usage?: Usage): LifeAction[] {
  return planLife({
    accounts: [account(more)],
    usage: new Map(usage === undefined ? [] : [["ann", usage]]),
    settings: accountLifeSchema.parse(settings),
    now: NOW,
  });
}

test("nothing is due where nothing is set", () => {
  assert.deepEqual(plan({}, {}, { since: daysAgo(10_000) }), []);
});

test("an account that nobody used is disabled after its days, counted from its last login or from when it was first seen", () => {
  const settings = { disableAfterInactiveDays: 90 };
  assert.equal(plan({}, settings, { since: daysAgo(91) })[0]?.act, "disable");
  assert.deepEqual(plan({}, settings, { since: daysAgo(91), lastLogin: daysAgo(50) }), []);
  assert.equal(plan({}, settings, { since: daysAgo(200), lastLogin: daysAgo(91) })[0]?.act, "disable");
  assert.deepEqual(plan({}, settings), [], "one that was never seen before");
  assert.deepEqual(plan({ enabled: false }, settings, { since: daysAgo(91) }), [], "it is disabled already");
});

test("a login of the last minutes may still be on its way: nobody is disabled at the very moment", () => {
  const settings = { disableAfterInactiveDays: 90, noticeDaysBefore: [] };
  assert.deepEqual(plan({}, settings, { since: daysAgo(90) - LATE_LOGIN_MS + 1 }), []);
  assert.equal(plan({}, settings, { since: daysAgo(90) - LATE_LOGIN_MS })[0]?.act, "disable");
});

test("removal comes before disabling, and also for a disabled account", () => {
  const settings = { disableAfterInactiveDays: 90, removeAfterInactiveDays: 180 };
  assert.deepEqual(
    plan({}, settings, { since: daysAgo(181) }).map(({ act }) => act),
    ["remove"],
  );
  assert.deepEqual(
    plan({ enabled: false }, settings, { since: daysAgo(181) }).map(({ act }) => act),
    ["remove"],
  );
});

test("of the notices before an end only the latest that is due goes out", () => {
  const daysBefore = (left: number) => {
    const [action] = plan({ expiresAt: iso(NOW + left * DAY_MS) }, {});
    return action?.act === "notice" ? action.daysBefore : undefined;
  };
  assert.deepEqual([20, 14, 10, 3, 2.5, 1, 0.1, 0, -1].map(daysBefore), [
    ...[undefined, 14, 14, 3, 3],
    ...[1, 1, undefined, undefined],
  ]);
});

test("a password has an age only where one is set and its change is known", () => {
  const settings = { passwordMaxAgeDays: 90 };
  const passwordHash = "$argon2id$x";
  const changed = { passwordHash, passwordChangedAt: iso(daysAgo(88)) };
  assert.deepEqual(
    plan(changed, settings).map((each) => (each.act === "notice" ? [each.kind, each.daysBefore] : [])),
    [["password-expires", 3]],
  );
  assert.deepEqual(plan({ passwordHash }, settings), []);
  assert.deepEqual(plan({ passwordChangedAt: iso(daysAgo(88)) }, settings), []);
});

test("nobody without an address gets a notice, and a disabled account only that of its removal", () => {
  assert.deepEqual(plan({ mail: undefined, expiresAt: iso(NOW + DAY_MS) }, {}), []);
  assert.deepEqual(plan({ enabled: false, expiresAt: iso(NOW + DAY_MS) }, {}), []);
  const removal = plan({ enabled: false }, { removeAfterInactiveDays: 10 }, { since: daysAgo(9.5) });
  assert.deepEqual(
    removal.map((each) => each.act === "notice" && each.kind),
    ["account-removed"],
  );
});

test("never more than one end for an account, and never one for an account that was just used", () => {
  const days = fc.integer({ min: 0, max: 400 });
  const arbitrary = fc.record({ disable: days, remove: days, since: days, login: days, enabled: fc.boolean() });
  fc.assert(
    fc.property(arbitrary, ({ disable, remove, since, login, enabled }) => {
      const settings = { disableAfterInactiveDays: disable, removeAfterInactiveDays: remove };
      const actions = plan({ enabled }, settings, { since: daysAgo(since), lastLogin: daysAgo(login) });
      const ends = actions.filter(({ act }) => act !== "notice");
      assert.ok(ends.length <= 1);
      if (Math.min(since, login) === 0) assert.deepEqual(ends, []);
    }),
  );
});
