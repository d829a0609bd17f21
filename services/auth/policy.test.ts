import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { securitySchema } from "#config/security-schema.js";
import { afterFailure, type FailureFacts, inForce, isForgotten, type Measure, throttleMs } from "./policy.js";

const settings = securitySchema.parse({});
const NOW = 1_700_000_000_000;
const quiet: FailureFacts = {
  now: NOW,
  ofAddress: 1,
  ofAccount: 1,
  protectedAddress: false,
  lastBan: undefined,
  lastLockout: undefined,
};

test("a few failures change nothing, one too many bans the address or locks the account", () => {
  assert.deepEqual(afterFailure(quiet, settings), {});
  assert.deepEqual(afterFailure({ ...quiet, ofAddress: 19, ofAccount: 29 }, settings), {});
  assert.deepEqual(afterFailure({ ...quiet, ofAddress: 20 }, settings), {
    ban: { at: NOW, until: NOW + 60_000, level: 1 },
  });
  assert.deepEqual(afterFailure({ ...quiet, ofAccount: 30 }, settings), {
    lockout: { at: NOW, until: NOW + 60_000, level: 1 },
  });
});

test("bans grow: 1 min, 5 min, 30 min, 4 h, a day, and stay there, until they are forgotten", () => {
  let lastBan: Measure | undefined;
  let now = NOW;
  const lengths: number[] = [];
  for (let i = 0; i < 7; i++) {
    lastBan = afterFailure({ ...quiet, now, ofAddress: 20, lastBan }, settings).ban;
    assert.ok(lastBan?.until != null);
    lengths.push((lastBan.until - now) / 60_000);
    now = lastBan.until;
  }
  assert.deepEqual(lengths, [1, 5, 30, 240, 1_440, 1_440, 1_440]);
  now += settings.forgetHours * 3_600_000;
  assert.equal(isForgotten(lastBan as Measure, now, settings), true);
  assert.equal(afterFailure({ ...quiet, now, ofAddress: 20, lastBan }, settings).ban?.level, 1);
});

test("0 switches a measure off", () => {
  const off = securitySchema.parse({ addressFailures: 0, accountFailures: 0, throttle: { afterFailures: 0 } });
  assert.deepEqual(afterFailure({ ...quiet, ofAddress: 1e6, ofAccount: 1e6 }, off), {});
  assert.equal(throttleMs({ ofAddress: 1e6, ofAccount: 1e6, protectedAddress: false }, off), 0);
});

const measure = fc.option(
  fc.record({
    at: fc.constant(NOW - 1_000_000),
    until: fc.option(fc.integer({ min: NOW - 900_000, max: NOW + 900_000 })),
    level: fc.integer({ min: 1, max: 20 }),
  }),
  { nil: undefined },
);
const facts = fc.record({
  now: fc.constant(NOW),
  ofAddress: fc.nat(100),
  ofAccount: fc.nat(100),
  protectedAddress: fc.boolean(),
  lastBan: measure,
  lastLockout: measure,
});

test("property: protected addresses are never banned; what is in force isn't made again; levels only grow", () => {
  fc.assert(
    fc.property(facts, (one) => {
      const { ban, lockout } = afterFailure(one, settings);
      if (one.protectedAddress) assert.equal(ban, undefined);
      for (const [made, last] of [[ban, one.lastBan] as const, [lockout, one.lastLockout] as const]) {
        if (made === undefined) continue;
        assert.equal(inForce(last, NOW), false);
        assert.equal(inForce(made, NOW), true);
        assert.equal(made.level, (last?.level ?? 0) + 1);
      }
    }),
  );
});

test("property: waits grow with the failures and end at the most; a protected address waits for its account only", () => {
  fc.assert(
    fc.property(fc.nat(1_000), fc.nat(1_000), (fewer, more) => {
      const wait = (ofAddress: number) => throttleMs({ ofAddress, ofAccount: 0, protectedAddress: false }, settings);
      assert.ok(wait(fewer) <= wait(fewer + more));
      assert.ok(wait(more) <= settings.throttle.mostMs);
      assert.equal(throttleMs({ ofAddress: more, ofAccount: 0, protectedAddress: true }, settings), 0);
    }),
  );
});
