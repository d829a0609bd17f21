import assert from "node:assert/strict";
import { test } from "node:test";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { createStorageWatch, type StorageHealth } from "./storage-health.js";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** Waits for a change of health; timers of ours keep no process alive, so this one does. */
async function next(changes: (StorageHealth | undefined)[], count: number): Promise<void> {
  const deadline = performance.now() + 2_000;
  while (changes.length < count && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(changes.length, count);
}

test("changes are told once each, with their reason, and mend by themselves", async (t) => {
  let fault: Error | undefined;
  const changes: (StorageHealth | undefined)[] = [];
  const watch = createStorageWatch({
    probe: () =>
      fault === undefined ? Promise.resolve({ freeBytes: 5, totalBytes: 9, full: false }) : Promise.reject(fault),
    onChange: () => changes.push(watch.health()),
    logger: silent,
    everyMs: 10,
  });
  t.after(() => watch.stop());
  assert.equal(watch.health(), undefined);
  watch.start();
  await next(changes, 1);
  fault = new LongshoreError("no-space", "the storage is full");
  await next(changes, 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  fault = undefined;
  await next(changes, 3);
  assert.deepEqual(changes, [
    { healthy: true, freeBytes: 5, totalBytes: 9 },
    { healthy: false, problem: "storage: the storage is full", code: "no-space", freeBytes: 0, totalBytes: 9 },
    { healthy: true, freeBytes: 5, totalBytes: 9 },
  ]);
});

test("a storage with too little room is a fault that still tells how much there is", async (t) => {
  const changes: (StorageHealth | undefined)[] = [];
  const watch = createStorageWatch({
    probe: () => Promise.resolve({ freeBytes: 3 << 20, totalBytes: 1 << 30, full: true }),
    onChange: () => changes.push(watch.health()),
    logger: silent,
  });
  t.after(() => watch.stop());
  watch.start();
  await next(changes, 1);
  const problem = "storage: it is full: 3 MiB are left";
  assert.deepEqual(changes[0], { healthy: false, problem, code: "no-space", freeBytes: 3 << 20, totalBytes: 1 << 30 });
});

test("a probe that hangs is a fault, and only one hangs", async (t) => {
  let probes = 0;
  const changes: (StorageHealth | undefined)[] = [];
  const watch = createStorageWatch({
    probe: () => {
      probes++;
      return new Promise(() => {});
    },
    onChange: () => changes.push(watch.health()),
    logger: silent,
    everyMs: 5,
    patienceMs: 20,
  });
  t.after(() => watch.stop());
  watch.start();
  await next(changes, 1);
  await new Promise((resolve) => setTimeout(resolve, 60));
  assert.match(changes[0]?.problem ?? "", /hung/);
  assert.equal(probes, 1);
});
