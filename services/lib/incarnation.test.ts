import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  formatIncarnation,
  isOwnProcess,
  isProcessGone,
  newIncarnation,
  parseIncarnation,
  processStatus,
} from "./incarnation.js";

const NODE_ID = "0f8e7d6c-1111-4222-8333-444455556666";

function ownParts() {
  const parts = parseIncarnation(newIncarnation(NODE_ID));
  assert.ok(parts);
  return parts;
}

function startOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

test("an incarnation can be taken apart and put together again", () => {
  const incarnation = newIncarnation(NODE_ID);
  assert.match(incarnation, /^[a-z0-9.]+$/);
  const parts = parseIncarnation(incarnation);
  assert.ok(parts);
  assert.equal(parts.node, "0f8e7d6c");
  assert.equal(parts.pid, process.pid);
  assert.equal(parts.start, startOf(process.pid));
  assert.equal(formatIncarnation(parts), incarnation);
});

test("two incarnations of one process differ only in their last part", () => {
  const [a, b] = [newIncarnation(NODE_ID), newIncarnation(NODE_ID)];
  assert.notEqual(a, b);
  assert.equal(a.slice(0, -6), b.slice(0, -6));
});

test("what isn't an incarnation is refused", () => {
  for (const text of ["", "x", "0f8e7d6c.0f8e7d6c.0.1.aaaaaa", "0f8e7d6c.0f8e7d6c.1.1.aaaaaa.b", "../../etc/passwd"]) {
    assert.equal(parseIncarnation(text), undefined);
    assert.equal(isProcessGone(text), false);
  }
  assert.throws(() => newIncarnation("not a uuid"), TypeError);
});

test("the own process is alive", () => {
  const incarnation = newIncarnation(NODE_ID);
  assert.equal(processStatus(incarnation), "alive");
  assert.equal(isProcessGone(incarnation), false);
  assert.equal(isOwnProcess(incarnation), true);
});

test("a process of another host is unknown, never gone", () => {
  const incarnation = formatIncarnation({ ...ownParts(), host: "00000000", pid: 999_999_999 });
  assert.equal(processStatus(incarnation), "unknown");
});

test("a pid that another process has by now means that the first one is gone", () => {
  assert.equal(processStatus(formatIncarnation({ ...ownParts(), start: "1" })), "gone");
});

test("a killed process is gone, and was not gone before", async () => {
  const child = spawn("sleep", ["60"]);
  assert.ok(child.pid);
  const incarnation = formatIncarnation({ ...ownParts(), pid: child.pid, start: startOf(child.pid) });
  assert.equal(processStatus(incarnation), "alive");
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.equal(processStatus(incarnation), "gone");
});

test("a killed process that nobody reaped is gone, too", async () => {
  // `sh` execs into a sleep that never waits for its child: the child stays a zombie.
  const parent = spawn("sh", ["-c", "sleep 60 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const pid = Number(line.toString().trim());
  const incarnation = formatIncarnation({ ...ownParts(), pid, start: startOf(pid) });
  assert.equal(processStatus(incarnation), "alive");
  process.kill(pid, "SIGKILL");
  const deadline = Date.now() + 2_000;
  while (processStatus(incarnation) !== "gone" && Date.now() < deadline) await new Promise((r) => setTimeout(r, 5));
  assert.match(readFileSync(`/proc/${pid}/stat`, "latin1"), /\) Z /);
  assert.equal(processStatus(incarnation), "gone");
  parent.kill("SIGKILL");
  await once(parent, "exit");
});
