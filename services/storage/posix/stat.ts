import type { Stats } from "node:fs";
import type { FileStat } from "../contract.js";

export function toFileStat(stats: Stats): FileStat {
  return {
    type: stats.isFile() ? "file" : stats.isDirectory() ? "directory" : stats.isSymbolicLink() ? "symlink" : "other",
    size: stats.size,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    atimeMs: stats.atimeMs,
    mtimeMs: stats.mtimeMs,
    links: stats.nlink,
    device: stats.dev,
    inode: stats.ino,
  };
}
