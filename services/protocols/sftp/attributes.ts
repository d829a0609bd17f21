import type { AttributeChange, Attributes, FileType } from "#sessions/contract.js";
import type { Cursor } from "./cursor.js";
import { AttributeFlag } from "./protocol.js";

/** The ATTRS structure (draft-02, section 5), both ways. */

/** Flags, size, uid and gid, permissions, times: what we send of every file. */
export const ATTRIBUTES_BYTES = 4 + 8 + 8 + 4 + 8;

const SENT = AttributeFlag.SIZE | AttributeFlag.UIDGID | AttributeFlag.PERMISSIONS | AttributeFlag.ACMODTIME;

/** Version 3 has no type field: the type stands in the mode's upper bits, as in POSIX. */
const TYPE_BITS: Readonly<Record<FileType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  // A FIFO: of all that it may be, the one that no client tries to fetch.
  other: 0o010000,
};

const MAX_U32 = 0xffff_ffff;

function clampU32(value: number): number {
  if (!(value > 0)) return 0;
  return value > MAX_U32 ? MAX_U32 : Math.trunc(value);
}

/** Mode with its type bits, as in `stat(2)`. */
export function fullMode(attributes: Attributes): number {
  return TYPE_BITS[attributes.type] | (attributes.mode & 0o7777);
}

/** Writes ATTRIBUTES_BYTES at `at`; returns the end. */
export function writeAttributes(to: Buffer, at: number, attributes: Attributes): number {
  const size = attributes.size > 0 ? Math.trunc(attributes.size) : 0;
  to.writeUInt32BE(SENT, at);
  to.writeUInt32BE(Math.floor(size / 2 ** 32), at + 4);
  to.writeUInt32BE(size % 2 ** 32, at + 8);
  to.writeUInt32BE(clampU32(attributes.uid), at + 12);
  to.writeUInt32BE(clampU32(attributes.gid), at + 16);
  to.writeUInt32BE(fullMode(attributes), at + 20);
  to.writeUInt32BE(clampU32(attributes.atime), at + 24);
  to.writeUInt32BE(clampU32(attributes.mtime), at + 28);
  return at + ATTRIBUTES_BYTES;
}

/**
 * Reads what a client wants changed. Owner and group are read over (clients.md: ignored, not refused); type bits in the
 * permissions too. Unknown flags are ignored, as OpenSSH does.
 */
export function readAttributeChange(from: Cursor): AttributeChange {
  const flags = from.u32();
  const change: { size?: number; mode?: number; atime?: number; mtime?: number } = {};
  if (flags & AttributeFlag.SIZE) change.size = from.u64();
  if (flags & AttributeFlag.UIDGID) {
    from.u32();
    from.u32();
  }
  if (flags & AttributeFlag.PERMISSIONS) change.mode = from.u32() & 0o7777;
  if (flags & AttributeFlag.ACMODTIME) {
    change.atime = from.u32();
    change.mtime = from.u32();
  }
  if (flags & AttributeFlag.EXTENDED) {
    // Each pair is eight bytes at least, so that a lying count ends at the packet's end, not after 2^32 rounds.
    for (let left = from.u32(); left > 0; left -= 1) {
      from.bytes();
      from.bytes();
    }
  }
  return change;
}
