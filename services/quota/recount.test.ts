import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NO_USAGE, readUsage } from "#commit/usage.js";
import type { ConfigView, Snapshot } from "#config/contract.js";
import { accountSchema, siteSchema } from "#config/schema.js";
import { noEntries } from "#config/snapshot.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import type { Store } from "#storage/contract.js";
import { keepUsage } from "./recount.js";

const site = siteSchema.parse({ id: "00000000-0000-4000-8000-000000000000", name: "test" });
const folders = ["in", "out"].map((name) => ({ path: `/${name}`, target: name, quotaBytes: 100 }));
const accounts = new Map([["ann", accountSchema.parse({ name: "ann", folders })]]);
const snapshot: Snapshot = { revision: 1, hash: "", ...noEntries(), site, accounts, hostKeys: [] };
const config: ConfigView = { snapshot: () => snapshot, onChange: () => () => {} };
const store = { name: "main", measure: async () => ({ bytes: 42 }) } as unknown as Store;

test("a damaged counter is counted anew, said once, and holds up no other place", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-recount-"));
  const coordination = createEmbeddedCoordination({ directory });
  const ended = new AbortController();
  const warnings: string[] = [];
  const logger: Logger = {
    debug() {},
    info() {},
    warn: (text) => void warnings.push(text),
    error() {},
    child: () => logger,
  };
  const [damaged, sound] = [keys.usage("main", "in"), keys.usage("main", "out")];
  await coordination.transact({
    compare: [],
    apply: [
      { put: damaged, value: '{"bytes":' },
      { put: sound, value: JSON.stringify(NO_USAGE) },
    ],
  });
  const running = keepUsage({ coordination, config, store: () => store, signal: ended.signal, logger });
  t.after(async () => {
    ended.abort();
    await running;
    await coordination.close();
    rmSync(directory, { recursive: true, force: true });
  });
  for (const key of [damaged, sound]) {
    const counted = async () => {
      const entry = await coordination.get(key);
      const usage = entry && readUsage(entry);
      return usage !== undefined && usage.counts > 0 && usage.bytes === 42;
    };
    for (let i = 0; i < 400 && !(await counted()); i += 1) await sleep(20);
    assert.ok(await counted(), key);
  }
  assert.deepEqual(warnings, ["a folder's usage in the store can't be read: it is counted anew"]);
});
