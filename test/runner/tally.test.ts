import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Line } from "./reporter.js";
import { choose, suiteOf } from "./suites.js";
import { tally } from "./tally.js";

type Ended = Extract<Line, { kind: "ended" }>;
const ended = (name: string, nesting: number, more: Partial<Ended> = {}): Line => ({
  kind: "ended",
  name,
  nesting,
  suite: false,
  passed: true,
  durationMs: 1,
  ...more,
});

describe("the count of tests", () => {
  test("counts leaves, not what holds them", () => {
    const lines = [ended("a", 1), ended("b", 2), ended("c", 1), ended("suite", 0, { suite: true }), ended("d", 0)];
    assert.equal(tally(lines).passed, 3);
  });

  test("a failure is named by its whole way, once", () => {
    const lines = [
      ended("deep", 2, { passed: false, error: "no" }),
      ended("middle", 1, { passed: false, byChildren: true, error: "1 subtest failed" }),
      ended("outer", 0, { passed: false, byChildren: true, suite: true, error: "1 subtest failed" }),
    ];
    assert.deepEqual(tally(lines).failures, [{ path: ["outer", "middle", "deep"], error: "no" }]);
  });

  test("a suite whose own hook fails counts, though its tests passed", () => {
    const lines = [ended("fine", 1), ended("outer", 0, { passed: false, suite: true, error: "after hook" })];
    const { passed, failures } = tally(lines);
    assert.deepEqual([passed, failures], [1, [{ path: ["outer"], error: "after hook" }]]);
  });

  test("what was counted before a file was killed within a suite stays counted", () => {
    const lines: Line[] = [
      { kind: "begun", name: "suite", nesting: 0 },
      ended("a", 1),
      ended("b", 1, { passed: false, error: "no" }),
    ];
    const { passed, failures, running } = tally(lines);
    assert.deepEqual([passed, failures, running], [1, [{ path: ["b"], error: "no" }], ["suite"]]);
  });

  test("skipped and todo tests are no passes", () => {
    const lines = [
      ended("a", 0, { skip: "" }),
      ended("b", 0, { todo: "later", passed: false, error: "x" }),
      ended("c", 1, { skip: "no etcd" }),
      ended("suite", 0, { suite: true }),
    ];
    const { passed, failures, skips } = tally(lines);
    assert.deepEqual([passed, failures.length], [0, 0]);
    assert.deepEqual(
      skips.map(({ path, reason }) => `${path.join(" > ")}: ${reason}`),
      ["a: no reason given", "b: todo: later", "suite > c: no etcd"],
    );
  });

  test("what was running is known when a file dies", () => {
    const lines: Line[] = [
      { kind: "begun", name: "a", nesting: 0 },
      { kind: "begun", name: "b", nesting: 0 },
      ended("a", 0),
    ];
    const { running, finished } = tally(lines);
    assert.deepEqual([running, finished], [["b"], false]);
  });
});

describe("suites", () => {
  test("a file's place is its suite", () => {
    assert.equal(suiteOf("services/commit/group.test.ts"), "unit");
    assert.equal(suiteOf("test/architecture.test.ts"), "unit");
    assert.equal(suiteOf("test/model/commit.test.ts"), "unit");
    assert.equal(suiteOf("test/chaos/kill.test.ts"), "chaos");
    assert.equal(suiteOf("test/bench/sftp.test.ts"), undefined);
  });

  test("patterns are suites or parts of paths", () => {
    const files = ["test/chaos/kill.test.ts", "services/lib/a.test.ts"].map((source) => ({
      source,
      suite: suiteOf(source) ?? "",
      compiled: "",
    }));
    const sources = (...patterns: string[]) => choose(files, patterns).map(({ source }) => source);
    assert.deepEqual(sources("chaos"), ["test/chaos/kill.test.ts"]);
    assert.deepEqual(sources("lib/a"), ["services/lib/a.test.ts"]);
    assert.equal(sources().length, 2);
    assert.deepEqual(sources("nothing"), []);
  });
});
