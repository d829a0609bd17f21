import type { AttributeChange, OpenIntent } from "#sessions/contract.js";
import { readAttributeChange } from "./attributes.js";
import type { Block } from "./blocks.js";
import type { Packet } from "./codec.js";
import { Cursor } from "./cursor.js";
import { LIMITS, OpenFlag, PacketType } from "./protocol.js";

/** What a packet asks for, decoded; the one place that knows the order of fields on the wire. */
export type Request =
  | { readonly name: "init"; readonly version: number }
  | { readonly name: "open"; readonly path: string; readonly intent: OpenIntent }
  | { readonly name: "close" | "fstat" | "readdir"; readonly handle: number }
  | { readonly name: "read"; readonly handle: number; readonly offset: number; readonly length: number }
  | {
      readonly name: "write";
      readonly handle: number;
      readonly offset: number;
      readonly bytes: number;
      /** Undefined: the packet holds fewer bytes than it says. Its handle must hear of it: this write has failed. */
      readonly payload: readonly Buffer[] | undefined;
      /** See Packet. */
      readonly blocks: readonly Block[];
    }
  | {
      readonly name: "lstat" | "stat" | "opendir" | "remove" | "rmdir" | "realpath" | "readlink";
      readonly path: string;
    }
  | { readonly name: "setstat" | "mkdir"; readonly path: string; readonly change: AttributeChange }
  | { readonly name: "fsetstat"; readonly handle: number; readonly change: AttributeChange }
  | { readonly name: "rename"; readonly from: string; readonly to: string }
  | { readonly name: "symlink" }
  | { readonly name: "extended"; readonly extension: string; readonly rest: Cursor }
  | { readonly name: "unknown"; readonly type: number };

export type RequestName = Request["name"];

function intentOf(flags: number, attributes: AttributeChange): OpenIntent {
  const write = (flags & OpenFlag.WRITE) !== 0;
  return {
    // Neither flag is O_RDONLY, as in OpenSSH.
    read: (flags & OpenFlag.READ) !== 0 || !write,
    write,
    append: write && (flags & OpenFlag.APPEND) !== 0,
    create: (flags & OpenFlag.CREAT) !== 0,
    truncate: (flags & OpenFlag.TRUNC) !== 0,
    exclusive: (flags & OpenFlag.EXCL) !== 0,
    attributes,
  };
}

/**
 * The first `bytes` of a WRITE's data. What follows them is ignored like any trailing bytes: rclone 1.60 (pkg/sftp 1.13)
 * sends the whole of its buffer behind the last, shorter piece of a file. Undefined where there are fewer.
 */
function cut(payload: readonly Buffer[], bytes: number): readonly Buffer[] | undefined {
  let present = 0;
  for (const [index, view] of payload.entries()) {
    present += view.length;
    if (present <= bytes) continue;
    return [...payload.slice(0, index), view.subarray(0, view.length - (present - bytes))].filter(
      ({ length }) => length,
    );
  }
  return present < bytes ? undefined : payload;
}

/** Decodes one packet. Throws MalformedPacket and nothing else. Bytes after the last field are ignored, as by OpenSSH. */
export function decodeRequest(packet: Packet): Request {
  const from = new Cursor(packet.body);
  switch (packet.type) {
    case PacketType.INIT:
      return { name: "init", version: packet.id };
    case PacketType.OPEN: {
      const path = from.text();
      const flags = from.u32();
      return { name: "open", path, intent: intentOf(flags, readAttributeChange(from)) };
    }
    case PacketType.CLOSE:
      return { name: "close", handle: from.handle() };
    case PacketType.READ: {
      const handle = from.handle();
      const offset = from.u64();
      // draft-02, 6.4: fewer bytes than asked for are a legal answer.
      return { name: "read", handle, offset, length: Math.min(from.u32(), LIMITS.read) };
    }
    case PacketType.WRITE: {
      const handle = from.handle();
      const offset = from.offset();
      const bytes = from.u32();
      return { name: "write", handle, offset, bytes, payload: cut(packet.payload, bytes), blocks: packet.blocks };
    }
    case PacketType.LSTAT:
      return { name: "lstat", path: from.text() };
    case PacketType.FSTAT:
      return { name: "fstat", handle: from.handle() };
    case PacketType.SETSTAT:
      return { name: "setstat", path: from.text(), change: readAttributeChange(from) };
    case PacketType.FSETSTAT:
      return { name: "fsetstat", handle: from.handle(), change: readAttributeChange(from) };
    case PacketType.OPENDIR:
      return { name: "opendir", path: from.text() };
    case PacketType.READDIR:
      return { name: "readdir", handle: from.handle() };
    case PacketType.REMOVE:
      return { name: "remove", path: from.text() };
    case PacketType.MKDIR:
      return { name: "mkdir", path: from.text(), change: readAttributeChange(from) };
    case PacketType.RMDIR:
      return { name: "rmdir", path: from.text() };
    case PacketType.REALPATH:
      return { name: "realpath", path: from.text() };
    case PacketType.STAT:
      return { name: "stat", path: from.text() };
    case PacketType.RENAME:
      return { name: "rename", from: from.text(), to: from.text() };
    case PacketType.READLINK:
      return { name: "readlink", path: from.text() };
    case PacketType.SYMLINK:
      return { name: "symlink" };
    case PacketType.EXTENDED:
      return { name: "extended", extension: from.text(), rest: from };
    default:
      return { name: "unknown", type: packet.type };
  }
}
