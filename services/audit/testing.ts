import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext } from "node:test";
import type { Logger } from "#lib/logger.js";
import { openSpool, type Spool, type SpoolOptions } from "./spool.js";

export const NODE_ID = "0f8e7d6c-1111-4222-8333-444455556666";

export const silent: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silent,
};

/** A directory of the test's own. */
export function scratch(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "longshore-audit-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

let lives = 0;

/** A spool in `directory`, of a new life. */
export function spoolIn(directory: string, more: Partial<SpoolOptions> = {}): Promise<Spool> {
  lives += 1;
  return openSpool({
    directory,
    node: "alpha",
    nodeId: NODE_ID,
    life: `life${lives}`,
    version: "test",
    logger: silent,
    ...more,
  });
}

/** Timers of our own keep no process alive: without this, a test that waits for one ends as if nothing could happen. */
export function keepAwake(): void {
  const timer = setInterval(() => {}, 1_000);
  after(() => clearInterval(timer));
}
