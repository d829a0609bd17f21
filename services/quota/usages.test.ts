import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NO_USAGE, parseUsage, type Usage } from "#commit/usage.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import { createUsages } from "./usages.js";

const quiet: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => quiet };
const KEY = keys.usage("main", "in");

test("a recount is asked for once, and anew when one came since: it may have been before the files went", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-usages-"));
  const coordination = createEmbeddedCoordination({ directory });
  const usages = createUsages({ coordination, logger: quiet });
  t.after(async () => {
    usages.stop();
    await coordination.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const put = async (usage: Usage) => {
    await coordination.transact({ compare: [], apply: [{ put: KEY, value: JSON.stringify(usage) }] });
    for (let i = 0; usages.of("in")?.counts !== usage.counts && i < 200; i += 1) await sleep(10);
  };
  const due = async () => {
    for (let i = 0; i < 50; i += 1) {
      const entry = await coordination.get(KEY);
      if (entry !== undefined && parseUsage(entry).due === true) return true;
      await sleep(10);
    }
    return false;
  };
  usages.start();
  await put({ ...NO_USAGE, counts: 1 });
  usages.askRecount("in");
  assert.ok(await due());
  await put({ ...NO_USAGE, counts: 2 });
  usages.askRecount("in");
  assert.ok(await due(), "the coordinator has counted meanwhile");
  const { modRevision } = (await coordination.get(KEY)) ?? {};
  usages.askRecount("in");
  await sleep(50);
  assert.equal((await coordination.get(KEY))?.modRevision, modRevision, "not again for each refusal");
});
