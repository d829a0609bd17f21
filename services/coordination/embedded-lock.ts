import { spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { StoreUnavailableError } from "./errors.js";

/**
 * Takes a lock on `path` that the kernel drops with this process, however it ends: nothing is ever stale, and it holds
 * across containers that share the volume, where a pid would mean nothing. Node has no flock of its own; flock(1) locks
 * the open file that it inherits, which is ours, so the lock stays when it has exited.
 *
 * Returns the function that gives the lock back. Throws `StoreUnavailableError` where somebody else holds it.
 */
export function lockFile(path: string): () => void {
  const fd = openSync(path, "a+", 0o600);
  try {
    const result = spawnSync("flock", ["-n", "3"], { stdio: ["ignore", "ignore", "pipe", fd], encoding: "utf8" });
    if (result.error) {
      throw new StoreUnavailableError("the embedded store needs the program flock (Debian: util-linux)", result.error);
    }
    if (result.status !== 0) {
      const holder = readFileSync(path, "utf8").trim() || "another process";
      throw new StoreUnavailableError(
        `the embedded store's lock ${path} is held by ${holder}: one process at a time. Stop that one, or use etcd`,
      );
    }
    ftruncateSync(fd);
    // Only for people: the lock itself is the kernel's.
    writeSync(fd, `pid ${process.pid} since ${new Date().toISOString()}\n`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    closeSync(fd);
  };
}
