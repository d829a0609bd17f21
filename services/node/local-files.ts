import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "#lib/errors.js";
import { type KeyRing, readKeyRing } from "#lib/seal.js";
import { EXIT_SETTINGS, StartupError } from "./errors.js";

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The node's id, made at its first start and kept in its data directory. It is what makes a restarted node the same one:
 * on the disk before anybody hears of it. Throws StartupError.
 */
export function nodeIdIn(dataDirectory: string): string {
  const path = join(dataDirectory, "node-id");
  try {
    mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
    const id = readIfThere(path) ?? create(path, dataDirectory);
    if (UUID.test(id)) return id;
  } catch (error) {
    throw new StartupError(
      `dataDirectory: ${dataDirectory} can't be used (${systemCode(error) ?? error})`,
      EXIT_SETTINGS,
      error,
    );
  }
  throw new StartupError(
    `dataDirectory: ${path} doesn't hold a UUID; restore it, or delete it to make this a new node`,
    EXIT_SETTINGS,
  );
}

/** The cluster key. Throws StartupError. */
export function clusterKeyIn(path: string): KeyRing {
  const text = secretIn("clusterKeyFile", path);
  try {
    return readKeyRing(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StartupError(`clusterKeyFile: ${path} ${why}`, EXIT_SETTINGS, error);
  }
}

/** The administrators' token. Throws StartupError. */
export function adminTokenIn(path: string): string {
  const token = secretIn("adminTokenFile", path).trim();
  if (/^[A-Za-z0-9\-._~+/]{16,}=*$/.test(token)) return token;
  const rule = "must hold one token of at least 16 letters, digits or -._~+/";
  throw new StartupError(`adminTokenFile: ${path} ${rule}; make one with: openssl rand -hex 32`, EXIT_SETTINGS);
}

/** A file that a setting names, as text. Throws StartupError. */
export function secretIn(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new StartupError(`${setting}: ${path} can't be read (${systemCode(error)})`, EXIT_SETTINGS, error);
  }
}

/** Written aside and linked in place: of two processes that start at once, both read the one id that won. */
function create(path: string, directory: string): string {
  const temporary = `${path}.${process.pid}.new`;
  const file = openSync(temporary, "w", 0o600);
  try {
    writeSync(file, `${randomUUID()}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  } finally {
    unlinkSync(temporary);
  }
  const parent = openSync(directory, "r");
  try {
    fsyncSync(parent);
  } finally {
    closeSync(parent);
  }
  return readIfThere(path) ?? "";
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
