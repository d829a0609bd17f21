import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bootstrap } from "#config/bootstrap.js";
import { createConfigView } from "#config/view.js";
import { writeConfig } from "#config/write.js";
import type { Coordination, Operation } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import { sealKey } from "#lib/seal.js";
import { until } from "#lib/testing.js";
import { watchApplying, watchLastBackup } from "./watch.js";

const logger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger };
const directory = mkdtempSync(join(tmpdir(), "longshore-watch-"));
const store = createEmbeddedCoordination({ directory });
const clusterKey = [sealKey(randomBytes(32))] as const;
const awake = setInterval(() => {}, 1_000);
after(async () => {
  clearInterval(awake);
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const account = (name: string): Operation => ({ put: keys.account(name), value: JSON.stringify({ name }) });
const apply = (on: Coordination, ...operations: readonly Operation[]) =>
  on.transact({ compare: [], apply: operations });

test("a change that was decided and left half done: nodes keep what they had, one finishes it, and all have it whole", async () => {
  await bootstrap({ coordination: store, clusterKey, siteName: "test", logger });
  await writeConfig(store, [], [account("old")]);
  const view = createConfigView({ coordination: store, clusterKey, logger });
  const before = await view.start();
  const late = createConfigView({ coordination: store, clusterKey, logger });
  try {
    const staged = (order: number, name: string): Operation => ({
      put: `${keys.applyingPrefix}id/0000000${order}+${keys.account(name)}`,
      value: JSON.stringify({ name }),
    });
    const gone = { put: `${keys.applyingPrefix}id/00000002-${keys.account("old")}`, value: "" };
    await apply(store, staged(0, "ann"), staged(1, "bob"), gone, { put: keys.configApplying, value: "id" });
    await apply(store, account("ann"));
    await until("the view sees a change under way", () => view.applyingMs() > 0);
    view.refresh();
    void late.start();
    await until("the late one sees it", () => late.applyingMs() > 0);
    assert.equal(view.snapshot(), before, "half of a configuration isn't one");
    assert.ok(view.status().lagMs > 0, "and it says that it lags");
    assert.ok(!late.loaded(), "one that has none yet waits");

    const stop = watchApplying({ coordination: store, applyingMs: () => view.applyingMs(), logger, patienceMs: 50 });
    await until("it is carried through", () => view.snapshot() !== before && late.loaded());
    await stop();
    assert.deepEqual([...view.snapshot().accounts.keys()].sort(), ["ann", "bob"]);
    assert.equal(view.snapshot().hash, late.snapshot().hash);
    assert.equal(view.applyingMs(), 0);
    assert.deepEqual((await store.list(keys.applyingPrefix)).entries, []);
  } finally {
    view.stop();
    late.stop();
  }
});

test("the time of the last backup is known wherever it was made; nonsense in its place is no time", async () => {
  const last = watchLastBackup(store);
  const stop = last.start();
  try {
    assert.equal(last.at(), undefined);
    await apply(store, { put: keys.lastBackup, value: "nonsense" });
    await apply(store, { put: keys.lastBackup, value: JSON.stringify({ at: 1_000, node: "n", scope: "shared" }) });
    await until("the backup is known", () => last.at() === 1_000);
  } finally {
    stop();
  }
});
