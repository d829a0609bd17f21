import type { Attributes, VolumeStatistics } from "#sessions/contract.js";
import { ATTRIBUTES_BYTES, writeAttributes } from "./attributes.js";
import { EXTENSIONS, LIMITS, PacketType, type StatusCode, VERSION } from "./protocol.js";

/** Replies as bytes, each in one buffer of exactly its size. */

/** Length, type, id, code, empty message, empty language tag. */
export const STATUS_BYTES = 4 + 1 + 4 + 4 + 4 + 4;
/** A DATA reply before its data: length, type, id, data length. */
export const DATA_HEADER_BYTES = 4 + 1 + 4 + 4;

/** A reply with `bytes` after its id; the rest is written from byte 9 on. */
function start(type: number, id: number, bytes: number): Buffer {
  const reply = Buffer.allocUnsafe(9 + bytes);
  reply.writeUInt32BE(5 + bytes, 0);
  reply[4] = type;
  reply.writeUInt32BE(id, 5);
  return reply;
}

function writeText(to: Buffer, at: number, text: string, bytes: number): number {
  to.writeUInt32BE(bytes, at);
  to.write(text, at + 4, bytes, "utf8");
  return at + 4 + bytes;
}

function writeU64(to: Buffer, at: number, value: number): number {
  const whole = Number.isFinite(value) && value > 0 ? Math.trunc(value) : 0;
  to.writeUInt32BE(Math.floor(whole / 2 ** 32) % 2 ** 32, at);
  to.writeUInt32BE(whole % 2 ** 32, at + 4);
  return at + 8;
}

export function versionReply(): Buffer {
  let bytes = 5;
  for (const [name, version] of EXTENSIONS) bytes += 8 + name.length + version.length;
  const reply = Buffer.allocUnsafe(4 + bytes);
  reply.writeUInt32BE(bytes, 0);
  reply[4] = PacketType.VERSION;
  reply.writeUInt32BE(VERSION, 5);
  let at = 9;
  for (const [name, version] of EXTENSIONS) {
    at = writeText(reply, at, name, name.length);
    at = writeText(reply, at, version, version.length);
  }
  return reply;
}

/** Writes a STATUS without text; returns the end. What most uploads are answered with, so many share a buffer. */
export function writeStatus(to: Buffer, at: number, id: number, code: StatusCode): number {
  to.writeUInt32BE(STATUS_BYTES - 4, at);
  to[at + 4] = PacketType.STATUS;
  to.writeUInt32BE(id, at + 5);
  to.writeUInt32BE(code, at + 9);
  to.writeUInt32BE(0, at + 13);
  to.writeUInt32BE(0, at + 17);
  return at + STATUS_BYTES;
}

export function statusReply(id: number, code: StatusCode, message: string): Buffer {
  const bytes = Buffer.byteLength(message);
  const reply = start(PacketType.STATUS, id, 4 + 4 + bytes + 4);
  reply.writeUInt32BE(code, 9);
  reply.writeUInt32BE(0, writeText(reply, 13, message, bytes));
  return reply;
}

export function handleReply(id: number, handle: number): Buffer {
  const reply = start(PacketType.HANDLE, id, 8);
  reply.writeUInt32BE(4, 9);
  reply.writeUInt32BE(handle, 13);
  return reply;
}

/** Writes the head of a DATA reply at `at`. */
export function writeDataHeader(to: Buffer, at: number, id: number, bytes: number): void {
  to.writeUInt32BE(DATA_HEADER_BYTES - 4 + bytes, at);
  to[at + 4] = PacketType.DATA;
  to.writeUInt32BE(id, at + 5);
  to.writeUInt32BE(bytes, at + 9);
}

export function attributesReply(id: number, attributes: Attributes): Buffer {
  const reply = start(PacketType.ATTRS, id, ATTRIBUTES_BYTES);
  writeAttributes(reply, 9, attributes);
  return reply;
}

/** NAME with one entry and no attributes: REALPATH, READLINK, expand-path, home-directory. */
export function pathReply(id: number, path: string): Buffer {
  const bytes = Buffer.byteLength(path);
  const reply = start(PacketType.NAME, id, 4 + 2 * (4 + bytes) + 4);
  reply.writeUInt32BE(1, 9);
  let at = writeText(reply, 13, path, bytes);
  at = writeText(reply, at, path, bytes);
  reply.writeUInt32BE(0, at);
  return reply;
}

/** One line of a listing. */
export interface NameEntry {
  readonly name: string;
  readonly longName: string;
  readonly attributes: Attributes;
}

/** Bytes that an entry takes in a NAME reply. */
export function nameEntryBytes(entry: NameEntry): number {
  return 8 + Buffer.byteLength(entry.name) + Buffer.byteLength(entry.longName) + ATTRIBUTES_BYTES;
}

/** NAME for READDIR; `bytes` is the sum of nameEntryBytes. */
export function namesReply(id: number, entries: readonly NameEntry[], bytes: number): Buffer {
  const reply = start(PacketType.NAME, id, 4 + bytes);
  reply.writeUInt32BE(entries.length, 9);
  let at = 13;
  for (const entry of entries) {
    at = writeText(reply, at, entry.name, Buffer.byteLength(entry.name));
    at = writeText(reply, at, entry.longName, Buffer.byteLength(entry.longName));
    at = writeAttributes(reply, at, entry.attributes);
  }
  return reply;
}

function numbersReply(id: number, values: readonly number[]): Buffer {
  const reply = start(PacketType.EXTENDED_REPLY, id, 8 * values.length);
  let at = 9;
  for (const value of values) at = writeU64(reply, at, value);
  return reply;
}

export function limitsReply(id: number, maxHandles: number): Buffer {
  return numbersReply(id, [LIMITS.packet, LIMITS.read, LIMITS.write, maxHandles]);
}

/** f_flag: ST_RDONLY and ST_NOSUID of OpenSSH's PROTOCOL. Nothing stored here is ever run, so the second always holds. */
const READ_ONLY = 1;
const NO_SUID = 2;

export function volumeReply(id: number, volume: VolumeStatistics): Buffer {
  return numbersReply(id, [
    volume.blockSize,
    volume.blockSize,
    volume.blocks,
    volume.freeBlocks,
    volume.availableBlocks,
    volume.files,
    volume.freeFiles,
    volume.freeFiles,
    volume.fileSystemId,
    volume.readOnly ? READ_ONLY | NO_SUID : NO_SUID,
    volume.maxNameLength,
  ]);
}

/** users-groups-by-id: `users` times and `groups` times the same name, each list packed into a string of strings. */
export function ownersReply(id: number, name: string, users: number, groups: number): Buffer {
  const bytes = Buffer.byteLength(name);
  const reply = start(PacketType.EXTENDED_REPLY, id, 8 + (users + groups) * (4 + bytes));
  let at = 9;
  for (const count of [users, groups]) {
    reply.writeUInt32BE(count * (4 + bytes), at);
    at += 4;
    for (let left = count; left > 0; left -= 1) at = writeText(reply, at, name, bytes);
  }
  return reply;
}
