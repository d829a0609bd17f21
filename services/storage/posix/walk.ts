import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { asLongshoreError, systemCode } from "#lib/errors.js";
import type { Measured } from "../contract.js";

/** Entries looked at together: a partner's own calls share the thread pool. */
const TOGETHER = 2;

/**
 * Sums up the sizes of all regular files below a directory, each by its names; links aren't followed. A directory that isn't
 * there is empty. Always through the thread pool: a tree of a million files must not hold the process up.
 */
export async function measureTree(top: string, signal: AbortSignal): Promise<Measured> {
  let bytes = 0;
  let files = 0;
  const waiting = [top];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    let names: string[] = [];
    const look = async () => {
      const sizes = await Promise.all(names.map((name) => sizeOf(join(path as string, name))));
      names = [];
      for (const size of sizes) {
        if (size === undefined) continue;
        bytes += size;
        files += 1;
      }
    };
    try {
      for await (const entry of await opendir(path, { bufferSize: 256 })) {
        signal.throwIfAborted();
        if (entry.isDirectory()) waiting.push(join(path, entry.name));
        else if (entry.isFile()) names.push(entry.name);
        if (names.length >= TOGETHER) await look();
      }
      await look();
    } catch (error) {
      signal.throwIfAborted();
      // removed since its name was read
      if (systemCode(error) !== "ENOENT" && systemCode(error) !== "ENOTDIR") {
        throw asLongshoreError(error, "the folder can't be counted");
      }
    }
  }
  return { bytes, files };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const stat = await lstat(path);
    return stat.isFile() ? stat.size : undefined;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
