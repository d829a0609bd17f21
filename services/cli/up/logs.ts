import { closeSync, fstatSync, openSync, readSync, renameSync, statSync } from "node:fs";
import { systemCode } from "#lib/errors.js";

/** A log larger than this is put aside when its process is started with the site; one older file is kept. */
export const MAX_LOG_BYTES = 16 * 1024 * 1024;
const TAIL_BYTES = 4096;

export function rotateLog(path: string): void {
  try {
    if (statSync(path).size > MAX_LOG_BYTES) renameSync(path, `${path}.1`);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** The end of a log, for an error message. */
export function lastLines(path: string, count = 15): string {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return "  (no log)";
  }
  try {
    const size = fstatSync(file).size;
    const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(file, buffer, 0, buffer.length, size - buffer.length);
    const lines = buffer.toString("utf8").trimEnd().split("\n").slice(-count);
    return lines.map((line) => `  ${line}`).join("\n");
  } finally {
    closeSync(file);
  }
}
