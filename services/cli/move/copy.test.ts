import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Coordination } from "#coordination/contract.js";
import { createEmbeddedCoordination } from "#coordination/embedded.js";
import { keys } from "#coordination/keys.js";
import { copyStore } from "./copy.js";

const root = mkdtempSync(join(tmpdir(), "longshore-copy-"));
const source = createEmbeddedCoordination({ directory: join(root, "source") });
const target = createEmbeddedCoordination({ directory: join(root, "target") });
after(async () => {
  await Promise.all([source.close(), target.close()]);
  rmSync(root, { recursive: true, force: true });
});

async function put(store: Coordination, key: string, value: string, lease?: string): Promise<void> {
  await store.transact({ compare: [], apply: [{ put: key, value, ...(lease === undefined ? {} : { lease }) }] });
}

test("all that lasts is copied, what was there goes, what hangs on a lease stays behind", async () => {
  await put(target, "config/accounts/old", "gone after the copy");
  await put(source, "config-history/2", "second by name, first by time");
  for (let at = 0; at < 1_300; at++) await put(source, `config/accounts/a${at}`, `value ${at}`);
  await put(source, "config-history/1", "first by name, last by time");
  await put(source, keys.configHead, "head");
  await put(source, "security/bans/192.0.2.1", "{}");
  await put(source, "ops/x", "waits for its recovery");
  await put(source, `names/main/${"ü".repeat(2_000)}`, "a long claim");
  const lease = await source.lease();
  await put(source, "owners/me", "0", lease.id);
  assert.equal(await copyStore(source, target), 1_306);
  const listed = async (store: Coordination) =>
    (await store.list("")).entries
      .filter(({ lease: on }) => on === undefined)
      .map(({ key, value }) => `${key}=${value}`);
  assert.deepEqual(await listed(target), await listed(source));
  const revisions = async (key: string) => (await target.get(key))?.modRevision ?? 0;
  assert.ok((await revisions("config-history/2")) < (await revisions("config-history/1")), "the order of time stays");
  const newest = (await target.list("config/")).entries.reduce(
    (most, { modRevision }) => Math.max(most, modRevision),
    0,
  );
  assert.equal(await revisions(keys.configHead), newest, "the head's revision is the configuration's");
  assert.equal(await copyStore(source, target), 1_306, "and once more, over what a first try left");
  await lease.release();
});

test("a copy that isn't the same is noticed", async () => {
  const lossy: Coordination = {
    get: (key, options) => target.get(key, options),
    list: (prefix, options) => target.list(prefix, options),
    lease: (options) => target.lease(options),
    watch: (prefix, hint) => target.watch(prefix, hint),
    maxOperations: target.maxOperations,
    close: () => target.close(),
    transact: ({ compare, apply }, options) =>
      target.transact({ compare, apply: apply.filter((one) => !("put" in one && one.put.endsWith("/a77"))) }, options),
  };
  await assert.rejects(
    copyStore(source, lossy),
    /isn't the same \(1305 entries of 1306, config\/accounts\/a77 differs\)/,
  );
});
