import { LongshoreError } from "#lib/errors.js";
import { MAX_PACKET, PacketType } from "./protocol.js";

/**
 * Packets out of the channel's chunks. Hostile input is the normal case: every length is compared with what is there
 * before it is used, nothing is allocated by a length that the client states, and what is held is bounded by MAX_PACKET
 * plus what the caller has pushed.
 */

/** A packet's length can't be believed, so the start of the next one is unknown: the channel has to end. */
export class FramingLost extends LongshoreError {
  constructor(message: string) {
    super("invalid-argument", message);
    this.name = "FramingLost";
  }
}

/** Lengths inside one packet lie, or a name isn't one: this request is refused, the next one is fine. */
export class MalformedPacket extends LongshoreError {
  constructor(message: string) {
    super("invalid-argument", message);
    this.name = "MalformedPacket";
  }
}

/** One packet, not yet looked into. */
export interface Packet {
  readonly type: number;
  /** The request's id; of an INIT: the client's version, which stands in the same place. */
  readonly id: number;
  /** What follows the id. Of a WRITE: up to its data. */
  readonly body: Buffer;
  /** A WRITE's data as views of the chunks, in order; otherwise empty. */
  readonly payload: readonly Buffer[];
}

/** Type and id. */
const HEAD = 5;
/** Of a WRITE's body besides its handle: handle length, offset, data length. */
const WRITE_FIXED = 4 + 8 + 4;
/** A handle is at most 256 bytes in the draft; ours have 4. */
const MAX_HANDLE = 256;
/** Below this a chunk that continues a packet is copied: a view of few bytes costs more memory than the bytes. */
const SMALL_CHUNK = 1_024;
const SMALL_BLOCK = 4_096;
/** Below this a WRITE's data is copied: while it waits it would keep the socket's whole buffer (64 KiB) alive. */
const SMALL_PAYLOAD = 2_048;

const NOTHING: readonly Buffer[] = [];

/** Cuts a stream of chunks into packets; see `push` and `next`. */
export class PacketStream {
  #chunks: Buffer[] = [];
  /** Consumed bytes of the first chunk. */
  #offset = 0;
  #available = 0;
  /** Where small chunks are gathered; its last view is the last chunk while `#blockOpen`. */
  #block: Buffer | undefined;
  #blockStart = 0;
  #blockUsed = 0;
  #blockOpen = false;

  /** Bytes held: those of a packet that isn't whole yet, and of packets that weren't asked for. */
  get available(): number {
    return this.#available;
  }

  /** Takes a chunk over; it must not be changed afterwards. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (chunk.length < SMALL_CHUNK && this.#available > 0) this.#gather(chunk);
    else {
      this.#chunks.push(chunk);
      this.#blockOpen = false;
    }
    this.#available += chunk.length;
  }

  /** The next whole packet, or undefined until there is one. Throws FramingLost, and is of no use after that. */
  next(): Packet | undefined {
    if (this.#available < 4) return undefined;
    const length = this.#peek32(0);
    // Refused as soon as the length is here, not when so many bytes are.
    if (length < HEAD) throw new FramingLost(`SFTP packet of ${length} bytes`);
    if (length > MAX_PACKET) throw new FramingLost(`SFTP packet of ${length} bytes, at most ${MAX_PACKET} are taken`);
    if (this.#available < 4 + length) return undefined;
    this.#skip(4);
    const head = this.#take(HEAD);
    const type = head[0] ?? 0;
    const id = head.readUInt32BE(1);
    const rest = length - HEAD;
    if (type !== PacketType.WRITE) return { type, id, body: this.#take(rest), payload: NOTHING };
    return this.#write(id, rest);
  }

  #write(id: number, rest: number): Packet {
    const handle = rest >= 4 ? this.#peek32(0) : 0;
    if (rest < WRITE_FIXED || handle > MAX_HANDLE || rest < WRITE_FIXED + handle) {
      // The decoder refuses a body that ends too early; the data is dropped unread, framing is kept.
      this.#skip(rest);
      return { type: PacketType.WRITE, id, body: Buffer.alloc(0), payload: NOTHING };
    }
    const body = this.#take(WRITE_FIXED + handle);
    const bytes = rest - body.length;
    if (bytes < SMALL_PAYLOAD) {
      const data = this.#take(bytes);
      return { type: PacketType.WRITE, id, body, payload: bytes === 0 ? NOTHING : [Buffer.from(data)] };
    }
    return { type: PacketType.WRITE, id, body, payload: this.#views(bytes) };
  }

  #gather(chunk: Buffer): void {
    const last = this.#chunks.length - 1;
    if (this.#blockOpen && this.#block !== undefined && this.#blockUsed + chunk.length <= SMALL_BLOCK) {
      chunk.copy(this.#block, this.#blockUsed);
      this.#blockUsed += chunk.length;
      this.#chunks[last] = this.#block.subarray(this.#blockStart, this.#blockUsed);
      return;
    }
    this.#block = Buffer.allocUnsafe(SMALL_BLOCK);
    chunk.copy(this.#block, 0);
    this.#blockStart = 0;
    this.#blockUsed = chunk.length;
    this.#blockOpen = true;
    this.#chunks.push(this.#block.subarray(0, chunk.length));
  }

  /** The 32-bit number that starts `at` bytes ahead; the caller knows that it is there. */
  #peek32(at: number): number {
    const first = this.#chunks[0];
    if (first !== undefined && first.length - this.#offset >= at + 4) return first.readUInt32BE(this.#offset + at);
    let value = 0;
    let skip = this.#offset + at;
    let wanted = 4;
    for (const chunk of this.#chunks) {
      if (skip >= chunk.length) {
        skip -= chunk.length;
        continue;
      }
      while (skip < chunk.length && wanted > 0) {
        value = value * 256 + (chunk[skip] ?? 0);
        skip += 1;
        wanted -= 1;
      }
      if (wanted === 0) break;
      skip = 0;
    }
    return value;
  }

  /** `count` bytes in one piece: a view where they lie in one chunk, else a copy. */
  #take(count: number): Buffer {
    const first = this.#chunks[0];
    if (first !== undefined && first.length - this.#offset >= count) {
      const piece = first.subarray(this.#offset, this.#offset + count);
      this.#advance(count);
      return piece;
    }
    const whole = Buffer.allocUnsafe(count);
    let filled = 0;
    for (const view of this.#views(count)) {
      view.copy(whole, filled);
      filled += view.length;
    }
    return whole;
  }

  #views(count: number): Buffer[] {
    const views: Buffer[] = [];
    let left = count;
    while (left > 0) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) break;
      const piece = chunk.subarray(this.#offset, Math.min(chunk.length, this.#offset + left));
      views.push(piece);
      left -= piece.length;
      this.#advance(piece.length);
    }
    return views;
  }

  #skip(count: number): void {
    let left = count;
    while (left > 0) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) break;
      const step = Math.min(left, chunk.length - this.#offset);
      left -= step;
      this.#advance(step);
    }
  }

  /** Consumes bytes of the first chunk alone. */
  #advance(count: number): void {
    this.#offset += count;
    this.#available -= count;
    const first = this.#chunks[0];
    if (first === undefined || this.#offset < first.length) return;
    // Few chunks are ever held (a packet is at most nine of ssh2's), so that shift is as cheap as an index.
    this.#chunks.shift();
    this.#offset = 0;
    if (this.#available === 0) {
      this.#block = undefined;
      this.#blockOpen = false;
    }
  }
}
