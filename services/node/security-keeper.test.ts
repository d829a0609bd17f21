import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { MeasureRecord } from "#auth/measures.js";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { createSecurityKeeper, SECURITY_FILE } from "./security-keeper.js";

const logger: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => logger };
const ring = [{ id: "00000001", bytes: randomBytes(32) }] as const;
const whose = { ring, site: "s", nodeId: "n" };
const record = (subject: string): MeasureRecord => ({
  subject,
  at: 1,
  until: null,
  level: 1,
  by: "administrator",
  reason: "",
});

test("what was known comes back; a changed file, or another node's, is not used", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-keeper-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const keeper = createSecurityKeeper({ directory, whose, logger });
  assert.equal(await keeper.load(), undefined);
  keeper.keep({ bans: [record("192.0.2.1")], lockouts: [] });
  const known = { bans: [record("192.0.2.1"), record("198.51.100.0/24")], lockouts: [record("ann")] };
  keeper.keep(known);
  await keeper.stop();
  assert.deepEqual(await createSecurityKeeper({ directory, whose, logger }).load(), known);
  const other = { ...whose, nodeId: "other" };
  assert.equal(await createSecurityKeeper({ directory, whose: other, logger }).load(), undefined);
  const file = join(directory, SECURITY_FILE);
  writeFileSync(file, readFileSync(file, "utf8").replace("192.0.2.1", "192.0.2.2"));
  assert.equal(await createSecurityKeeper({ directory, whose, logger }).load(), undefined);
});

test("what couldn't be written is written when the disk takes it again, without another change", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "longshore-keeper-"));
  const awake = setInterval(() => {}, 1_000);
  t.after(() => {
    clearInterval(awake);
    rmSync(root, { recursive: true });
  });
  const directory = join(root, "away");
  let complaints = 0;
  const counting: Logger = { ...logger, warn: () => void complaints++ };
  const keeper = createSecurityKeeper({ directory, whose, logger: counting, everyMs: 5 });
  const known = { bans: [record("192.0.2.1")], lockouts: [] };
  keeper.keep(known);
  while (complaints === 0) await pause(5);
  mkdirSync(directory);
  for (let i = 0; i < 200 && !existsSync(join(directory, SECURITY_FILE)); i += 1) await pause(5);
  assert.equal(complaints, 1);
  assert.deepEqual(await createSecurityKeeper({ directory, whose, logger }).load(), known);
  await keeper.stop();
});
