import type { StatsFs } from "node:fs";
import type { Room } from "#quota/usages.js";
import type { FileStat, StatChange } from "#storage/contract.js";
import type { AttributeChange, Attributes, VolumeStatistics } from "./contract.js";

/** Small, so that a small quota isn't rounded away. */
const QUOTA_BLOCK = 1_024;

export function fromFileStat(stat: FileStat): Attributes {
  return {
    type: stat.type,
    size: stat.size,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    atime: Math.floor(stat.atimeMs / 1_000),
    mtime: Math.floor(stat.mtimeMs / 1_000),
    links: stat.links,
  };
}

/** An own partial: one byte short of what arrived, so that no client takes it for complete (clients.md, finding 2). */
export function ofPartial(partial: { prefix: number; mtimeMs: number }): Attributes {
  const time = Math.floor(partial.mtimeMs / 1_000);
  return {
    type: "file",
    size: reportedSize(partial.prefix),
    mode: 0o600,
    uid: 0,
    gid: 0,
    atime: time,
    mtime: time,
    links: 1,
  };
}

export function reportedSize(prefix: number): number {
  return Math.max(0, prefix - 1);
}

/** The bits of the mode that a client may set. */
export function maskMode(change: AttributeChange): StatChange {
  return change.mode === undefined ? change : { ...change, mode: change.mode & 0o777 };
}

/** A quota as the volume that `df` shows: never more room than there really is. */
export function fromQuota({ limit, bytes, used }: Room, stats: StatsFs): VolumeStatistics {
  const blocks = Math.ceil(limit.bytes / QUOTA_BLOCK);
  const volume = Math.floor((stats.bavail * stats.bsize) / QUOTA_BLOCK);
  const free = Math.max(0, Math.min(Math.floor(bytes / QUOTA_BLOCK), volume, blocks - Math.ceil(used / QUOTA_BLOCK)));
  return {
    ...fromVolume(stats),
    blockSize: QUOTA_BLOCK,
    blocks,
    freeBlocks: free,
    availableBlocks: free,
  };
}

export function fromVolume(stats: StatsFs): VolumeStatistics {
  return {
    blockSize: stats.bsize,
    blocks: stats.blocks,
    freeBlocks: stats.bfree,
    availableBlocks: stats.bavail,
    files: stats.files,
    freeFiles: stats.ffree,
    fileSystemId: 0,
    readOnly: false,
    maxNameLength: 255,
  };
}
