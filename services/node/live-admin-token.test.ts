import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { createLiveAdminToken } from "./live-admin-token.js";

const OLD = "a".repeat(32);
const NEW = "b".repeat(32);

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = monotonicMs() + 10_000;
  while (!condition()) {
    assert.ok(monotonicMs() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("a new token is in force without a restart; a file without one changes nothing and shows nothing", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-token-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "admin-token");
  const said: string[] = [];
  const say = (message: string, more?: object) => void said.push(message + JSON.stringify(more ?? {}));
  const logger: Logger = { debug: say, info: say, warn: say, error: say, child: () => logger };
  writeFileSync(path, `${OLD}\n`);
  const token = createLiveAdminToken(path, OLD, logger);
  t.after(() => token.stop());
  writeFileSync(path, "two words\n");
  await until(() => said.length === 1, "it is complained about");
  assert.equal(token.current(), OLD);
  writeFileSync(path, `${NEW}\n`);
  await until(() => token.current() === NEW, "the new one is in force");
  assert.equal(said.length, 2);
  assert.ok(said.every((line) => !line.includes(NEW) && !line.includes("two words")));
});
