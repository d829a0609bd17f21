import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { systemCode } from "#lib/errors.js";

/** Only the owner may read what `up` writes: it holds passwords, keys, or the way to them. */
const PRIVATE = 0o600;

/** Replaces the file in one step: a reader sees the old content or the new, never a half. */
export function writeAtomically(path: string, content: string | Buffer): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, content, { mode: PRIVATE });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

export function writeJson(path: string, value: unknown): void {
  writeAtomically(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** The file's text, or undefined where there is none. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The file's text; where there is none, `make` says what to put there first. */
export function readOrCreate(path: string, make: () => string): string {
  const there = readIfThere(path);
  if (there !== undefined) return there;
  const made = make();
  writeAtomically(path, made);
  return made;
}

export function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}
