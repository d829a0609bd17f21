import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { readIfThere } from "../files.js";
import { siteLayout } from "../layout.js";
import { until } from "../wait.js";
import { isRunning, readRecords, recordOf } from "./process-record.js";
import {
  FIRST_RESTART_MS,
  LONGEST_RESTART_MS,
  nextRestartMs,
  type ProcessSpec,
  STABLE_MS,
  SupervisedProcess,
} from "./supervised.js";
import { stopOrder, sweep } from "./sweep.js";

describe("waiting before a restart", () => {
  test("the first wait is short, each next one twice as long, up to a bound", () => {
    const waits = [0];
    for (let index = 0; index < 10; index++) waits.push(nextRestartMs(waits.at(-1) ?? 0, 0));
    assert.deepEqual(waits.slice(1, 4), [FIRST_RESTART_MS, 2 * FIRST_RESTART_MS, 4 * FIRST_RESTART_MS]);
    assert.equal(waits.at(-1), LONGEST_RESTART_MS);
  });

  test("after a stable life it is short again", () => {
    assert.equal(nextRestartMs(LONGEST_RESTART_MS, STABLE_MS), FIRST_RESTART_MS);
  });
});

test("a site stops its nodes first, while HAProxy and etcd still serve them, and etcd last", () => {
  const names = ["etcd", "haproxy", "node-1", "prometheus", "node-2"].map((name) => ({ name }));
  assert.deepEqual(
    stopOrder(names).map((together) => together.map(({ name }) => name)),
    [["node-1", "node-2"], ["haproxy"], ["prometheus"], ["etcd"]],
  );
});

describe("a supervised process", () => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-supervised-"));
  const layout = siteLayout(directory);
  const started: SupervisedProcess[] = [];
  let logged: string[] = [];
  afterEach(async () => {
    await Promise.all(started.splice(0).map((each) => each.stop()));
    logged = [];
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  function launch(script: string, change: Partial<ProcessSpec> = {}): SupervisedProcess {
    const spec: ProcessSpec = {
      name: "sh",
      program: "/bin/sh",
      arguments: ["-c", script],
      directory,
      env: process.env,
      logFile: join(directory, "sh.log"),
      graceMs: 5_000,
      restart: true,
      ...change,
    };
    const supervised = new SupervisedProcess(spec, directory, {
      changed: () => {},
      log: (message) => logged.push(message),
    });
    started.push(supervised);
    supervised.start();
    return supervised;
  }

  const soon = { timeoutMs: 10_000 };

  test("that is killed is started again, and its record names the new one", async () => {
    const supervised = launch("exec sleep 60");
    supervised.keepAlive();
    const first = supervised.pid;
    assert.ok(first);
    process.kill(first, "SIGKILL");
    assert.ok(await until(() => supervised.pid !== undefined && supervised.pid !== first, soon));
    assert.deepEqual(
      readRecords(directory).map(({ pid }) => pid),
      [supervised.pid],
    );
  });

  test("that may not be started again stays down", async () => {
    const supervised = launch("exec sleep 60", { restart: false });
    supervised.keepAlive();
    process.kill(supervised.pid ?? 0, "SIGKILL");
    assert.ok(await until(() => supervised.pid === undefined, soon));
    await supervised.stop();
    assert.deepEqual(readRecords(directory), []);
  });

  test("that ends before the site is up says why, with the end of its log", async () => {
    const supervised = launch("echo the reason; exit 7");
    await assert.rejects(supervised.endedEarly(), /sh ended \(exit code 7\)[\s\S]*the reason/);
  });

  test("that can't be started at all says why", async () => {
    await assert.rejects(launch("", { program: "/nowhere/at-all" }).endedEarly(), /ENOENT/);
  });

  test("that ignores SIGTERM is killed after its grace, with what it forked", async () => {
    const supervised = launch("trap '' TERM; sleep 61 & echo $! > forked; while :; do wait; done", { graceMs: 200 });
    const [record] = readRecords(directory);
    assert.ok(record && isRunning(record));
    const forked = () => Number(readIfThere(join(directory, "forked")));
    assert.ok(await until(() => forked() > 0, soon));
    await supervised.stop();
    assert.equal(isRunning(record), false);
    // Nobody but init reaps it.
    assert.ok(await until(() => recordOf("sleep", forked(), 0) === undefined, soon));
    assert.ok(logged.some((line) => line.includes("is killed")));
  });

  test("that was stopped by SIGSTOP still ends", async () => {
    const supervised = launch("exec sleep 62");
    process.kill(supervised.pid ?? 0, "SIGSTOP");
    await supervised.stop();
    assert.equal(supervised.pid, undefined);
  });

  test("whose supervisor is gone is found and ended by the sweep", async () => {
    const supervised = launch("exec sleep 63", { restart: false });
    const pid = supervised.pid;
    assert.ok(pid);
    const run = { ...layout, run: directory };
    assert.deepEqual(await sweep(run), ["sh"]);
    // it ends as our own child: until Node reaps it, it answers signals as a zombie
    assert.ok(await until(() => recordOf("sleep", pid, 0) === undefined, soon));
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.endsWith(".json")),
      [],
    );
  });
});
