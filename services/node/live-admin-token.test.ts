import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Logger } from "#lib/logger.js";
import { until } from "#lib/testing.js";
import { createLiveAdminToken } from "./live-admin-token.js";

const OLD = "a".repeat(32);
const NEW = "b".repeat(32);

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
  await until("it is complained about", () => said.length === 1);
  assert.equal(token.current(), OLD);
  writeFileSync(path, `${NEW}\n`);
  await until("the new one is in force", () => token.current() === NEW);
  assert.equal(said.length, 2);
  assert.ok(said.every((line) => !line.includes(NEW) && !line.includes("two words")));
});
