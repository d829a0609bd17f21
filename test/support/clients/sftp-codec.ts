/** SFTP version 3 packets (draft-ietf-secsh-filexfer-02), just enough to send anything and read any reply. */

export const Type = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  SETSTAT: 9,
  FSETSTAT: 10,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  RMDIR: 15,
  REALPATH: 16,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  NAME: 104,
  ATTRS: 105,
  EXTENDED: 200,
  EXTENDED_REPLY: 201,
} as const;

export const Status = {
  OK: 0,
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  NO_CONNECTION: 6,
  CONNECTION_LOST: 7,
  OP_UNSUPPORTED: 8,
} as const;

/** pflags of OPEN, by the letters that clients.md uses. */
export const Open = { R: 1, W: 2, APPEND: 4, C: 8, T: 16, EXCL: 32 } as const;

export interface Attrs {
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mode?: number;
  readonly atime?: number;
  readonly mtime?: number;
}

export type Reply =
  | { readonly kind: "status"; readonly id: number; readonly code: number; readonly message: string }
  | { readonly kind: "handle"; readonly id: number; readonly handle: Buffer }
  | { readonly kind: "data"; readonly id: number; readonly data: Buffer }
  | { readonly kind: "name"; readonly id: number; readonly entries: readonly NameEntry[] }
  | { readonly kind: "attrs"; readonly id: number; readonly attrs: Attrs }
  | { readonly kind: "extended"; readonly id: number; readonly data: Buffer }
  | { readonly kind: "unknown"; readonly id: number; readonly type: number };

export interface NameEntry {
  readonly name: Buffer;
  readonly longname: Buffer;
  readonly attrs: Attrs;
}

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value >>> 0);
  return out;
}

export function u64(value: number | bigint): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)));
  return out;
}

export function string(value: string | Buffer): Buffer {
  const body = Buffer.isBuffer(value) ? value : Buffer.from(value, "utf8");
  return Buffer.concat([u32(body.length), body]);
}

export function attrs(value: Attrs = {}): Buffer {
  let flags = 0;
  const parts: Buffer[] = [];
  if (value.size !== undefined) {
    flags |= 1;
    parts.push(u64(value.size));
  }
  if (value.uid !== undefined || value.gid !== undefined) {
    flags |= 2;
    parts.push(u32(value.uid ?? 0), u32(value.gid ?? 0));
  }
  if (value.mode !== undefined) {
    flags |= 4;
    parts.push(u32(value.mode));
  }
  if (value.atime !== undefined || value.mtime !== undefined) {
    flags |= 8;
    parts.push(u32(value.atime ?? 0), u32(value.mtime ?? 0));
  }
  return Buffer.concat([u32(flags), ...parts]);
}

/** A whole packet: length, type, body (an id comes first in each body but INIT's). */
export function packet(type: number, ...body: readonly Buffer[]): Buffer {
  const length = 1 + body.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([u32(length), Buffer.from([type]), ...body]);
}

/** Reads a reply's body; throws on one that is shorter than it says. */
export class Reader {
  private at = 0;
  constructor(private readonly body: Buffer) {}

  get rest(): number {
    return this.body.length - this.at;
  }

  u32(): number {
    const value = this.body.readUInt32BE(this.at);
    this.at += 4;
    return value;
  }

  u64(): number {
    const value = this.body.readBigUInt64BE(this.at);
    this.at += 8;
    return Number(value);
  }

  string(): Buffer {
    const length = this.u32();
    if (length > this.rest) throw new Error(`a string of ${length} bytes in ${this.rest}`);
    const value = this.body.subarray(this.at, this.at + length);
    this.at += length;
    return value;
  }

  remaining(): Buffer {
    return this.body.subarray(this.at);
  }

  attrs(): Attrs {
    const flags = this.u32();
    const out: { -readonly [K in keyof Attrs]: Attrs[K] } = {};
    if (flags & 1) out.size = this.u64();
    if (flags & 2) {
      out.uid = this.u32();
      out.gid = this.u32();
    }
    if (flags & 4) out.mode = this.u32();
    if (flags & 8) {
      out.atime = this.u32();
      out.mtime = this.u32();
    }
    if (flags & 0x80000000) {
      for (let left = this.u32(); left > 0; left--) {
        this.string();
        this.string();
      }
    }
    return out;
  }
}

/** Decodes the body of any packet but VERSION. */
export function decodeReply(type: number, body: Buffer): Reply {
  const reader = new Reader(body);
  const id = reader.u32();
  switch (type) {
    case Type.STATUS: {
      const code = reader.u32();
      return { kind: "status", id, code, message: reader.rest > 0 ? reader.string().toString() : "" };
    }
    case Type.HANDLE:
      return { kind: "handle", id, handle: Buffer.from(reader.string()) };
    case Type.DATA:
      return { kind: "data", id, data: Buffer.from(reader.string()) };
    case Type.NAME: {
      const entries: NameEntry[] = [];
      for (let left = reader.u32(); left > 0; left--) {
        const name = Buffer.from(reader.string());
        const longname = Buffer.from(reader.string());
        entries.push({ name, longname, attrs: reader.attrs() });
      }
      return { kind: "name", id, entries };
    }
    case Type.ATTRS:
      return { kind: "attrs", id, attrs: reader.attrs() };
    case Type.EXTENDED_REPLY:
      return { kind: "extended", id, data: Buffer.from(reader.remaining()) };
    default:
      return { kind: "unknown", id, type };
  }
}
