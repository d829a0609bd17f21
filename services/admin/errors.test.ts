import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidConfigError, StaleRevisionError } from "#config/errors.js";
import { LongshoreError } from "#lib/errors.js";
import { HttpError, problemOf } from "./errors.js";

test("our errors become problems with their code, faults and revision", () => {
  const invalid = problemOf(
    new InvalidConfigError("the account isn't valid", [{ path: "home", message: "no" }]),
  ).problem;
  assert.equal(invalid.status, 422);
  assert.deepEqual(invalid.faults, [{ path: "home", message: "no" }]);
  const stale = problemOf(new StaleRevisionError("account ann", 7)).problem;
  assert.equal(stale.status, 412);
  assert.equal(stale.currentRevision, 7);
  assert.equal(problemOf(new HttpError(404, "Not found")).problem.status, 404);
  assert.equal(problemOf(new LongshoreError("unavailable", "no quorum")).problem.status, 503);
});

test("what we didn't expect tells the client nothing of itself", () => {
  for (const error of [new Error("/secret/path"), new LongshoreError("io", "/secret/path"), "/secret/path"]) {
    const { problem, unexpected } = problemOf(error);
    assert.equal(problem.status, 500);
    assert.equal(unexpected, true);
    assert.doesNotMatch(JSON.stringify(problem), /secret/);
  }
});
