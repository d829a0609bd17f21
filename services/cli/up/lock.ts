import { linkSync, renameSync, rmSync } from "node:fs";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT } from "../errors.js";
import { writeJson } from "../files.js";
import type { SiteLayout } from "../layout.js";
import { isRunning, readRecord, recordOf, recordPath, SUPERVISOR } from "./process-record.js";

/**
 * Makes this process the directory's one supervisor: its record is the lock, and a dead holder's is void. Throws a
 * CliError where a live one holds it.
 */
export function lockDirectory(layout: SiteLayout, graceMs: number): void {
  const path = recordPath(layout.run, SUPERVISOR);
  const own = recordOf(SUPERVISOR, process.pid, graceMs);
  if (own === undefined) throw new CliError(EXIT.failed, "`longshore up` needs Linux with /proc mounted");
  const aside = `${path}.${process.pid}.tmp`;
  writeJson(aside, own);
  try {
    for (;;) {
      try {
        // A hard link appears whole or not at all, and only where nothing is yet.
        linkSync(aside, path);
        return;
      } catch (error) {
        if (systemCode(error) !== "EEXIST") throw error;
      }
      const holder = readRecord(path);
      if (holder !== undefined && isRunning(holder)) throw alreadyRunning(layout, holder.pid);
      removeDead(path, layout);
    }
  } finally {
    rmSync(aside, { force: true });
  }
}

export function unlockDirectory(layout: SiteLayout): void {
  const path = recordPath(layout.run, SUPERVISOR);
  if (readRecord(path)?.pid === process.pid) rmSync(path, { force: true });
}

/** Takes the dead holder's record away; puts it back if another `up` took the lock since we looked. */
function removeDead(path: string, layout: SiteLayout): void {
  const taken = `${path}.${process.pid}.dead`;
  try {
    renameSync(path, taken);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  const holder = readRecord(taken);
  if (holder !== undefined && isRunning(holder)) {
    renameSync(taken, path);
    throw alreadyRunning(layout, holder.pid);
  }
  rmSync(taken, { force: true });
}

function alreadyRunning(layout: SiteLayout, pid: number): CliError {
  return new CliError(
    EXIT.alreadyRunning,
    `a site is already running in ${layout.root} (process ${pid}): \`longshore endpoints --dir ${layout.root}\` says ` +
      `where, \`longshore down --dir ${layout.root}\` stops it, and another --dir starts another`,
  );
}
