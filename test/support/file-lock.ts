import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";

/**
 * Takes a lock that the kernel drops with this process, however it ends, and returns how to release it. Waits for another
 * holder; blocks the event loop meanwhile. Throws after `waitSeconds`.
 */
export function takeLock(path: string, waitSeconds: number): () => void {
  const fd = openSync(path, "a");
  // flock(1) locks the open file, which is ours: the lock stays with `fd` after it has exited.
  const result = spawnSync("flock", ["-w", String(waitSeconds), "3"], { stdio: ["ignore", 2, 2, fd] });
  if (result.status === 0) return () => closeSync(fd);
  closeSync(fd);
  throw new Error(`no lock on ${path} within ${waitSeconds} s: is another test at the same work?`);
}
