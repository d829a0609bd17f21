import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import type { Logger } from "#lib/logger.js";
import { type KeyRing, sealKey } from "#lib/seal.js";
import { bootstrap } from "./bootstrap.js";
import { InvalidConfigError } from "./errors.js";
import { createSiteSettings } from "./site.js";
import { createConfigView } from "./view.js";
import { writeConfig } from "./write.js";

/** A rolling upgrade, as a node of the version before sees it: the site's settings hold fields that it doesn't know. */

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const awake = setInterval(() => {}, 1_000);
const root = mkdtempSync(join(tmpdir(), "longshore-site-settings-"));
after(() => {
  clearInterval(awake);
  rmSync(root, { recursive: true });
});

/** Writes the settings as a newer node would: a new section, and a new field in a section that we know. */
async function writeNewer(store: Coordination, form: object, cutOffGraceSeconds: number): Promise<number> {
  const before = JSON.parse((await store.get(keys.site))?.value ?? "{}") as { sftp: object };
  const { sftp } = before;
  const newer = { ...form, ...before, cutOffGraceSeconds, sftp: { ...sftp, quantum: true }, ledger: { kept: true } };
  const result = await writeConfig(store, [], [{ put: keys.site, value: JSON.stringify({ ...newer, ...form }) }]);
  assert.ok(result.applied);
  return result.revision;
}

test("settings that a newer node wrote are in force here, too, and are left to it to change", async () => {
  const ring: KeyRing = [sealKey(randomBytes(32))];
  const store = createEmbeddedCoordination({ directory: join(root, "store") });
  await bootstrap({ coordination: store, clusterKey: ring, siteName: "s", logger: silent });
  const view = createConfigView({ coordination: store, clusterKey: ring, logger: silent });
  const reached = (revision: number) => view.reached(revision, AbortSignal.timeout(10_000));
  try {
    await view.start();
    const { site, revision } = await reached(await writeNewer(store, { schema: 2, readableBy: 1 }, 77));
    assert.equal(site.cutOffGraceSeconds, 77);
    assert.deepEqual(view.status().faults, []);
    assert.ok(!("ledger" in site) && !("quantum" in site.sftp));

    const settings = createSiteSettings({ coordination: store });
    const stored = await settings.get();
    assert.equal(stored.site.cutOffGraceSeconds, 77);
    await assert.rejects(settings.put({ ...stored.site, cutOffGraceSeconds: 5 }, stored.revision), (error: unknown) => {
      assert.ok(error instanceof InvalidConfigError);
      assert.match(error.faults[0]?.message ?? "", /newer form.*upgraded node/);
      return true;
    });
    assert.match((await store.get(keys.site))?.value ?? "", /"ledger"/);

    // One that we would misread isn't used at all: the last good one stays in force, and the node says so.
    await writeNewer(store, { schema: 3, readableBy: 2 }, 5);
    const deadline = performance.now() + 10_000;
    while (view.status().faults.length === 0 && performance.now() < deadline) await setTimeout(5);
    assert.match(view.status().faults[0]?.message ?? "", /form 3; this node knows 1 at most: upgrade it/);
    assert.equal(view.snapshot().site.cutOffGraceSeconds, 77);
    assert.equal(view.snapshot().revision, revision);
  } finally {
    view.stop();
    await store.close();
  }
});
