import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { tryStorage } from "./trial.js";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "longshore-trial-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const NAME = "0123456789abcdef";
const act = (what: Parameters<typeof tryStorage>[2], note = "a") => tryStorage(directory, NAME, what, note);

test("one creates, another can't, sees it, renames it; and nothing is left", async () => {
  assert.deepEqual(await act("look"), { outcome: "done" });
  assert.deepEqual(await act("create"), { outcome: "done" });
  assert.deepEqual(await act("create", "b"), { outcome: "exists" });
  assert.deepEqual(await act("look"), { outcome: "done", note: "a" });
  assert.deepEqual(await act("rename"), { outcome: "done" });
  assert.deepEqual(await act("rename"), { outcome: "missing" });
  assert.deepEqual(await act("look"), { outcome: "done", movedNote: "a" });
  assert.deepEqual(await act("remove"), { outcome: "done" });
  assert.deepEqual(readdirSync(directory), []);
});

test("what a doctor left behind is swept an hour later, and nobody else's files are", async () => {
  const [old, young, other] = ["trial-1", "trial-2", "aaaa"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [old, young, other]) writeFileSync(path, "");
  const past = Date.now() / 1_000 - 7_200;
  utimesSync(old, past, past);
  utimesSync(other, past, past);
  await act("create");
  assert.deepEqual([old, young, other].map(existsSync), [false, true, true]);
});

test("another failure than the one asked for is an error", async () => {
  rmSync(directory, { recursive: true });
  writeFileSync(directory, "no directory");
  await assert.rejects(act("create"), /the storage can't be tried \(create\)/);
});
