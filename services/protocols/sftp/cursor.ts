import { isUtf8 } from "node:buffer";
import { MalformedPacket } from "./codec.js";
import { MAX_PATH } from "./protocol.js";

/** Reads the fields of one packet's body; throws MalformedPacket where a field leaves the body. */
export class Cursor {
  readonly #from: Buffer;
  #at = 0;

  constructor(from: Buffer) {
    this.#from = from;
  }

  #need(count: number): number {
    const at = this.#at;
    if (this.#from.length - at < count) throw new MalformedPacket("truncated packet");
    this.#at = at + count;
    return at;
  }

  u32(): number {
    return this.#from.readUInt32BE(this.#need(4));
  }

  /** Numbers past 2^53 - 1 are refused: no file is that large, and a rounded offset would write to a wrong place. */
  u64(): number {
    const at = this.#need(8);
    const value = this.#from.readUInt32BE(at) * 2 ** 32 + this.#from.readUInt32BE(at + 4);
    if (value > Number.MAX_SAFE_INTEGER) throw new MalformedPacket("number out of range");
    return value;
  }

  /** Like `u64`, but Infinity past 2^53 - 1: for a WRITE, whose handle must hear of it and fail from then on. */
  offset(): number {
    const at = this.#need(8);
    const value = this.#from.readUInt32BE(at) * 2 ** 32 + this.#from.readUInt32BE(at + 4);
    return value > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : value;
  }

  /** A string's bytes: a view. */
  bytes(): Buffer {
    const length = this.u32();
    const at = this.#need(length);
    return this.#from.subarray(at, at + length);
  }

  /** A string that must be UTF-8 without NUL: anything else names no file that we could show again unchanged. */
  text(): string {
    const bytes = this.bytes();
    if (bytes.length > MAX_PATH) throw new MalformedPacket("name too long");
    if (bytes.includes(0)) throw new MalformedPacket("name holds a NUL byte");
    if (!isUtf8(bytes)) throw new MalformedPacket("name isn't valid UTF-8");
    return bytes.toString("utf8");
  }

  /** A handle as the number that handles.ts gave out; one that we can't have given out is 0, which is never one. */
  handle(): number {
    const bytes = this.bytes();
    return bytes.length === 4 ? bytes.readUInt32BE(0) : 0;
  }
}
