import { LongshoreError } from "#lib/errors.js";
import { Block } from "./blocks.js";
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
  /** A WRITE's data, in order; otherwise empty. It stays as it is until `blocks` are released. */
  readonly payload: readonly Buffer[];
  /** To be released, once each, when the payload is needed no more. */
  readonly blocks: readonly Block[];
}

/** Bytes that came, and whose memory they lie in: a block's, or their own. */
interface Piece {
  bytes: Buffer;
  readonly block: Block | undefined;
}

/** Type and id. */
const HEAD = 5;
/** Of a WRITE's body besides its handle: handle length, offset, data length. */
const WRITE_FIXED = 4 + 8 + 4;
/** A handle is at most 256 bytes in the draft; ours have 4. */
const MAX_HANDLE = 256;
/** From here on chunks go into blocks; a block for less would hold much more memory than was sent. */
const BULK_CHUNK = 8_192;
/** Below this a chunk that continues a packet joins the one before: a buffer of few bytes costs more than the bytes. */
const SMALL_CHUNK = 1_024;
const SMALL_PIECE = 4_096;
/** Below this a WRITE's data is copied: while it waits it would keep its whole block from being used again. */
const SMALL_PAYLOAD = 2_048;

const NOTHING: readonly Buffer[] = [];
const NO_BLOCKS: readonly Block[] = [];

/**
 * Cuts a stream of chunks into packets; see `push` and `next`. What a packet shows, but its payload, is good until the next
 * `push`.
 */
export class PacketStream {
  #pieces: Piece[] = [];
  /** Consumed bytes of the first piece. */
  #offset = 0;
  #available = 0;
  /** Where bulk chunks go on; the last piece ends where it is filled to. */
  #block: Block | undefined;
  /** Where small chunks are gathered: the last piece's memory, and what of it is used. */
  #gathering: { readonly memory: Buffer; used: number } | undefined;

  /** Bytes held: those of a packet that isn't whole yet, and of packets that weren't asked for. */
  get available(): number {
    return this.#available;
  }

  /** Copies a chunk: its memory may be another's in the next moment. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (chunk.length >= BULK_CHUNK || this.#block !== undefined) this.#pushBulk(chunk);
    else if (chunk.length < SMALL_CHUNK && this.#available > 0) this.#gather(chunk);
    else {
      this.#pieces.push({ bytes: Buffer.from(chunk), block: undefined });
      this.#gathering = undefined;
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
    if (type !== PacketType.WRITE) return { type, id, body: this.#take(rest), payload: NOTHING, blocks: NO_BLOCKS };
    return this.#write(id, rest);
  }

  #write(id: number, rest: number): Packet {
    const handle = rest >= 4 ? this.#peek32(0) : 0;
    if (rest < WRITE_FIXED || handle > MAX_HANDLE || rest < WRITE_FIXED + handle) {
      // The decoder refuses a body that ends too early; the data is dropped unread, framing is kept.
      this.#skip(rest);
      return { type: PacketType.WRITE, id, body: Buffer.alloc(0), payload: NOTHING, blocks: NO_BLOCKS };
    }
    const body = this.#take(WRITE_FIXED + handle);
    const bytes = rest - body.length;
    if (bytes < SMALL_PAYLOAD) {
      const payload = bytes === 0 ? NOTHING : [Buffer.from(this.#take(bytes))];
      return { type: PacketType.WRITE, id, body, payload, blocks: NO_BLOCKS };
    }
    const blocks: Block[] = [];
    const payload = this.#views(bytes, blocks);
    return { type: PacketType.WRITE, id, body, payload, blocks };
  }

  #pushBulk(chunk: Buffer): void {
    this.#gathering = undefined;
    for (let at = 0; at < chunk.length; ) {
      const block = this.#block ?? new Block();
      const count = Math.min(block.room, chunk.length - at);
      const start = block.used;
      chunk.copy(block.bytes, start, at, at + count);
      block.used += count;
      at += count;
      const last = this.#pieces[this.#pieces.length - 1];
      if (last !== undefined && last.block === block) {
        last.bytes = block.bytes.subarray(last.bytes.byteOffset - block.bytes.byteOffset, block.used);
      } else {
        block.hold();
        this.#pieces.push({ bytes: block.bytes.subarray(start, block.used), block });
      }
      this.#block = block;
      if (block.room === 0) this.#leaveBlock();
    }
  }

  #leaveBlock(): void {
    this.#block?.release();
    this.#block = undefined;
  }

  #gather(chunk: Buffer): void {
    const last = this.#pieces[this.#pieces.length - 1];
    const { memory, used } = this.#gathering ?? { memory: undefined, used: 0 };
    if (last !== undefined && memory !== undefined && used + chunk.length <= memory.length) {
      chunk.copy(memory, used);
      last.bytes = memory.subarray(last.bytes.byteOffset - memory.byteOffset, used + chunk.length);
      this.#gathering = { memory, used: used + chunk.length };
      return;
    }
    const fresh = Buffer.allocUnsafe(SMALL_PIECE);
    chunk.copy(fresh);
    this.#gathering = { memory: fresh, used: chunk.length };
    this.#pieces.push({ bytes: fresh.subarray(0, chunk.length), block: undefined });
  }

  /** The 32-bit number that starts `at` bytes ahead; the caller knows that it is there. */
  #peek32(at: number): number {
    const first = this.#pieces[0]?.bytes;
    if (first !== undefined && first.length - this.#offset >= at + 4) return first.readUInt32BE(this.#offset + at);
    let value = 0;
    let skip = this.#offset + at;
    let wanted = 4;
    for (const { bytes } of this.#pieces) {
      if (skip >= bytes.length) {
        skip -= bytes.length;
        continue;
      }
      while (skip < bytes.length && wanted > 0) {
        value = value * 256 + (bytes[skip] ?? 0);
        skip += 1;
        wanted -= 1;
      }
      if (wanted === 0) break;
      skip = 0;
    }
    return value;
  }

  /** `count` bytes in one piece: a view where they lie together, else a copy. */
  #take(count: number): Buffer {
    const first = this.#pieces[0]?.bytes;
    if (first !== undefined && first.length - this.#offset >= count) {
      const view = first.subarray(this.#offset, this.#offset + count);
      this.#advance(count);
      return view;
    }
    const whole = Buffer.allocUnsafe(count);
    let filled = 0;
    for (const view of this.#views(count)) {
      view.copy(whole, filled);
      filled += view.length;
    }
    return whole;
  }

  /** `count` bytes as they lie. The blocks that they lie in are held, and added to `blocks`. */
  #views(count: number, blocks?: Block[]): Buffer[] {
    const views: Buffer[] = [];
    let left = count;
    while (left > 0) {
      const piece = this.#pieces[0];
      if (piece === undefined) break;
      const view = piece.bytes.subarray(this.#offset, Math.min(piece.bytes.length, this.#offset + left));
      views.push(view);
      if (blocks !== undefined && piece.block !== undefined) {
        piece.block.hold();
        blocks.push(piece.block);
      }
      left -= view.length;
      this.#advance(view.length);
    }
    return views;
  }

  #skip(count: number): void {
    let left = count;
    while (left > 0) {
      const piece = this.#pieces[0];
      if (piece === undefined) break;
      const step = Math.min(left, piece.bytes.length - this.#offset);
      left -= step;
      this.#advance(step);
    }
  }

  /** Consumes bytes of the first piece alone. */
  #advance(count: number): void {
    this.#offset += count;
    this.#available -= count;
    const first = this.#pieces[0];
    if (first === undefined || this.#offset < first.bytes.length) return;
    // Few pieces are ever held (a packet is at most nine of ssh2's), so that shift is as cheap as an index.
    this.#pieces.shift();
    this.#offset = 0;
    first.block?.release();
    if (this.#available === 0) {
      this.#gathering = undefined;
      this.#leaveBlock();
    }
  }
}
