import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Clocks } from "#config/kept.js";
import type { Listing } from "#coordination/contract.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { sealKey } from "#lib/seal.js";
import { until } from "#lib/testing.js";
import { CONTACT_FILE, createSnapshotKeeper, SNAPSHOT_FILE } from "./snapshot-keeper.js";

const directory = mkdtempSync(join(tmpdir(), "longshore-keeper-"));
after(() => rmSync(directory, { recursive: true, force: true }));
const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

const warnings: string[] = [];
const logger: Logger = {
  debug() {},
  info() {},
  warn: (message, fields) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  error() {},
  child: () => logger,
};
const whose = { ring: [sealKey(randomBytes(32))] as const, site: "test", nodeId: randomUUID() };
let clocks: Clocks = { wallMs: 10_000, bootId: "b", uptimeMs: 10_000 };
const newKeeper = () => createSnapshotKeeper({ directory, whose, logger, debounceMs: 1, clocks: () => clocks });

function listing(revision: number): Listing {
  const entry = { key: "config/head", value: "x", createRevision: 1, modRevision: revision };
  return { entries: [entry], revision: revision + 100 };
}

test("where nothing was kept there is nothing to load, and nothing to complain of", async () => {
  assert.equal(await newKeeper().load(), undefined);
  assert.deepEqual(warnings, []);
});

test("a snapshot without a contact is of unknown age; with one it ages from there, over a restart", async () => {
  const keeper = newKeeper();
  keeper.confirmed(monotonicMs());
  keeper.inForce(listing(5));
  await keeper.stop();
  assert.equal((await newKeeper().load())?.ageMs, undefined);

  const next = newKeeper();
  next.inForce(listing(6));
  await until("the next one is on the disk", () =>
    readFileSync(join(directory, SNAPSHOT_FILE), "utf8").includes('"revision":6'),
  );
  await until("its contact is noted", () => {
    next.confirmed(monotonicMs());
    return next.ageSeconds() !== undefined;
  });
  await next.stop();
  clocks = { ...clocks, uptimeMs: clocks.uptimeMs + 30_000 };
  const loaded = await newKeeper().load();
  assert.equal(loaded?.kept.revision, 6);
  assert.equal(loaded?.ageMs, 30_000);
  assert.equal(statSync(join(directory, SNAPSHOT_FILE)).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, CONTACT_FILE)).mode & 0o777, 0o600);
});

test("a contact is noted only once the file holds the configuration in force", async () => {
  const before = readFileSync(join(directory, CONTACT_FILE), "utf8");
  const keeper = createSnapshotKeeper({ directory, whose, logger, debounceMs: 60_000, clocks: () => clocks });
  keeper.inForce(listing(7));
  keeper.confirmed(monotonicMs());
  assert.equal(keeper.ageSeconds(), undefined);
  await keeper.stop();
  assert.equal(readFileSync(join(directory, CONTACT_FILE), "utf8"), before);

  const next = newKeeper();
  next.inForce(listing(8));
  await until("its contact is noted", () => {
    if (next.ageSeconds() !== undefined) return true;
    next.confirmed(monotonicMs());
    return false;
  });
  const noted = readFileSync(join(directory, CONTACT_FILE), "utf8");
  assert.match(noted, /"revision":8/);
  clocks = { ...clocks, uptimeMs: clocks.uptimeMs + 1 };
  next.inForce(listing(9));
  next.confirmed(monotonicMs());
  await next.stop();
  assert.equal(readFileSync(join(directory, CONTACT_FILE), "utf8"), noted, "the file held an older one at that moment");
});

test("a snapshot that was tampered with is ignored with one line", async () => {
  const path = join(directory, SNAPSHOT_FILE);
  writeFileSync(path, readFileSync(path, "utf8").replace('"x"', '"y"'));
  assert.equal(await newKeeper().load(), undefined);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /is not used.*was changed/);
});
