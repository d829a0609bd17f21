import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AUDIT_ON_STORAGE, type AuditEntry } from "#audit/contract.js";
import { keepAwake, NODE_ID, scratch, silent, spoolIn } from "#audit/testing.js";
import type { ConfigView } from "#config/contract.js";
import { pause } from "#lib/clock.js";
import { type AuditRetentionOptions, keepAuditShort, removeOnce } from "./audit-retention.js";

keepAwake();
const login: AuditEntry = { kind: "login", what: "password", outcome: "ok", who: "ann" };

/** A shared storage with a log of several segments, and the node that writes it and is busy: records follow on records. */
async function site(t: TestContext, retentionDays: number) {
  const storage = scratch(t);
  const directory = join(storage, AUDIT_ON_STORAGE, NODE_ID);
  mkdirSync(directory, { recursive: true });
  const spool = await spoolIn(directory, { segmentBytes: 600 });
  for (let i = 0; i < 12; i += 1) await spool.recordDurably(login);
  const callbacks = new Set<() => void>();
  let auditRetentionDays = retentionDays;
  let retentions = 0;
  /** Always behind: a round ships what there was when it began. */
  let shipped = spool.position();
  const options: AuditRetentionOptions = {
    config: {
      snapshot: () => ({ site: { auditRetentionDays } }),
      onChange(callback: () => void) {
        callbacks.add(callback);
        return () => void callbacks.delete(callback);
      },
    } as unknown as ConfigView,
    audit: {
      async recordDurably(entry) {
        retentions += 1;
        await spool.recordDurably(entry);
      },
      position: () => spool.position(),
      shippedPosition() {
        const before = shipped;
        shipped = spool.position();
        spool.record(login);
        return before;
      },
    },
    storagePath: () => storage,
    node: "alpha",
    signal: AbortSignal.timeout(3_000),
    logger: silent,
    firstMs: 50,
  };
  return {
    options,
    segments: () => readdirSync(directory).filter((file) => file.endsWith(".jsonl")).length,
    retentions: () => retentions,
    change(days = auditRetentionDays) {
      auditRetentionDays = days;
      for (const callback of callbacks) callback();
    },
  };
}

test("old segments go though a busy node has something unshipped at any time", async (t) => {
  const { options, segments } = await site(t, 1);
  const before = segments();
  // Minus a day: everything is old.
  assert.equal(await removeOnce(options, -1), true);
  assert.ok(segments() < before);
});

test("a clock that jumps ten years ahead removes nothing", async (t) => {
  const { options, segments } = await site(t, 365);
  const before = segments();
  const ahead = Date.now() + 3_650 * 86_400_000;
  assert.equal(await removeOnce({ ...options, now: () => ahead }, 365), false);
  assert.equal(segments(), before);
});

test("changes of the configuration, one after the other, don't put it off", async (t) => {
  const { options, change, retentions } = await site(t, -1);
  const ended = new AbortController();
  const running = keepAuditShort({ ...options, signal: ended.signal });
  for (let i = 0; i < 40 && retentions() < 2; i += 1) {
    change();
    await pause(20);
  }
  ended.abort();
  await running;
  assert.ok(retentions() >= 2, `${retentions()} times`);
});

test("a new period is heeded at once, also one that comes during a look", async (t) => {
  const { options, change, retentions } = await site(t, 36_500);
  const ended = new AbortController();
  let looks = 0;
  const storagePath = () => {
    looks += 1;
    if (looks === 1) queueMicrotask(() => change(-1));
    return options.storagePath();
  };
  const running = keepAuditShort({ ...options, storagePath, signal: ended.signal });
  for (let i = 0; i < 100 && retentions() === 0; i += 1) await pause(20);
  ended.abort();
  await running;
  assert.ok(retentions() > 0);
});
