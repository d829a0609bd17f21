import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_USAGE } from "#commit/usage.js";
import { corrected, recountIn } from "./correct.js";

const about = { now: 1_000_000, tookMs: 7 };
const counted = { ...NO_USAGE, bytes: 100, added: 500, removed: 400, counts: 3 };

test("with nothing beside the walk, the walk is right", () => {
  const asked = { ...counted, due: true };
  const usage = corrected({ before: asked, after: asked, walked: 60, ...about });
  assert.deepEqual(usage, { ...counted, bytes: 60, exact: true, counts: 4, countedAt: 1_000_000, tookMs: 7 });
});

test("beside other changes a counter within the bounds stays, another goes to the nearer bound", () => {
  const after = { ...counted, bytes: 120, added: 550, removed: 430 }; // 50 came, 30 went
  const bytes = (walked: number) => corrected({ before: counted, after, walked, ...about }).bytes;
  assert.equal(bytes(100), 120, "the walk saw none of them");
  assert.equal(bytes(150), 120);
  assert.equal(bytes(60), 110, "at most 60 + 50");
  assert.equal(bytes(170), 140, "at least 170 - 30");
  assert.equal(bytes(10), 60);
  assert.equal(corrected({ before: counted, after, walked: 100, ...about }).exact, false);
});

test("files that moved beside the walk: nothing can be said, but of a first count", () => {
  const after = { ...counted, moves: 1 };
  assert.equal(corrected({ before: counted, after, walked: 7, ...about }).bytes, 100);
  const first = { ...NO_USAGE, moves: 1 };
  assert.equal(corrected({ before: NO_USAGE, after: first, walked: 7, ...about }).bytes, 7);
});

test("a count that is asked for beside the walk is still owed after it", () => {
  assert.equal(corrected({ before: counted, after: { ...counted, due: true }, walked: 60, ...about }).due, true);
});

test("a new place is counted at once, again soon, then hourly; on demand sooner, and a long walk seldom", () => {
  const at = (usage: object, now: number) => recountIn({ ...NO_USAGE, ...usage }, now);
  assert.equal(at({}, 0), 0);
  assert.equal(at({ counts: 1, countedAt: 0, exact: true }, 1_000), 4_000);
  assert.equal(at({ counts: 2, countedAt: 0, exact: true }, 1_000), 3_599_000);
  assert.equal(at({ counts: 2, countedAt: 0, exact: false }, 1_000), 599_000);
  assert.equal(at({ counts: 2, countedAt: 0, exact: true, due: true }, 1_000), 9_000);
  assert.equal(at({ counts: 2, countedAt: 0, exact: true, due: true, tookMs: 3_000 }, 1_000), 59_000);
  assert.equal(at({ counts: 2, countedAt: 9_000_000_000, exact: true }, 0), 3_600_000, "a clock that was set back");
});
