import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { EXIT } from "../errors.js";
import { siteLayout } from "../layout.js";
import { lockDirectory, unlockDirectory } from "./lock.js";
import {
  isRunning,
  type ProcessRecord,
  readRecord,
  recordOf,
  recordPath,
  SUPERVISOR,
  writeRecord,
} from "./process-record.js";
import { stopSite } from "./sweep.js";

describe("one supervisor a directory", () => {
  const layout = siteLayout(mkdtempSync(join(tmpdir(), "longshore-lock-")));
  const path = recordPath(layout.run, SUPERVISOR);
  const children: ChildProcess[] = [];
  beforeEach(() => {
    rmSync(layout.run, { recursive: true, force: true });
    mkdirSync(layout.run);
  });
  after(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(layout.root, { recursive: true });
  });

  /** The record of a process that isn't ours to end. */
  function bystander(): ProcessRecord {
    const child = spawn("sleep", ["60"], { stdio: "ignore" });
    children.push(child);
    const record = recordOf(SUPERVISOR, child.pid ?? 0, 1_000);
    assert.ok(record);
    return record;
  }

  test("the lock names its holder until it is given back", () => {
    lockDirectory(layout, 1_000);
    assert.equal(readRecord(path)?.pid, process.pid);
    unlockDirectory(layout);
    assert.equal(readRecord(path), undefined);
  });

  test("a second one is refused while the first lives", () => {
    const holder = bystander();
    writeRecord(layout.run, holder);
    assert.throws(() => lockDirectory(layout, 1_000), { exitCode: EXIT.alreadyRunning });
    assert.deepEqual(readRecord(path), holder);
  });

  test("a dead holder's lock is void, also where its pid belongs to somebody else by now or it is from before a reboot", () => {
    const { pid, start, boot, ...rest } = bystander();
    for (const dead of [
      { pid, start: `${Number(start) - 1}`, boot },
      { pid, start, boot: "another boot" },
    ]) {
      writeRecord(layout.run, { ...rest, ...dead });
      lockDirectory(layout, 1_000);
      assert.equal(readRecord(path)?.pid, process.pid);
    }
  });

  test("stopping a site never hits a process that merely has the pid of one of ours", async () => {
    const other = bystander();
    writeRecord(layout.run, { ...other, start: `${Number(other.start) - 1}` });
    writeRecord(layout.run, { ...other, name: "node-1", boot: "another boot" });
    assert.deepEqual(await stopSite(layout), []);
    assert.ok(isRunning(other));
  });
});
