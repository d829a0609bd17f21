import { randomFillSync } from "node:crypto";
import { DATA_HEADER_BYTES, writeDataHeader } from "./encode.js";
import type { ReadRequest } from "./handles.js";
import { PACKET_HEAD, type PacketShape, packetBytes, writePacketHead } from "./raw-channel.js";

/**
 * Bulk downloads: one read fills one slab that is laid out as SSH packets already, is encrypted where it lies and goes
 * out in one socket write. No byte of a file is copied between the system call that reads it and the one that sends it.
 */

/** The most file data in a slab. Four of OpenSSH's READs. */
export const SLAB_DATA = 1_048_576;
/** READs in a slab at most: each takes 13 bytes of the slab's overhead. */
export const SLAB_READS = 64;
/** Below this packet size the heads would fill the slab: such clients get the public path. */
export const MIN_PACKET = 4_096;
/** Heads, padding, tags of SLAB_DATA / MIN_PACKET packets (14 + 19 + 64 bytes each at most), and READ headers. */
const SLAB_BYTES = SLAB_DATA + (SLAB_DATA / MIN_PACKET + SLAB_READS + 2) * 112;

/** Slabs kept for reuse: warm memory is what makes them fast, cold pages cost more than they save. */
const KEPT = 12;
/** In use at once, of all sessions; past that reads go through small buffers, and stuck clients hold 100 MiB, not more. */
const IN_USE_AT_MOST = 96;
/** An idle process gives the memory back. */
const KEEP_MS = 30_000;

class SlabPool {
  readonly #free: Buffer[] = [];
  #inUse = 0;
  #timer: NodeJS.Timeout | undefined;

  /** All that may be in use are in use. */
  get exhausted(): boolean {
    return this.#inUse >= IN_USE_AT_MOST;
  }

  take(): Buffer | undefined {
    if (this.exhausted) return undefined;
    this.#inUse += 1;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  give(slab: Buffer): void {
    this.#inUse -= 1;
    if (this.#free.length < KEPT) this.#free.push(slab);
    if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#free.length = 0;
      }, KEEP_MS);
      this.#timer.unref();
    } else this.#timer.refresh();
  }
}

/** Shared by all sessions of the process: an idle session holds none. */
export const slabs = new SlabPool();

/** Random padding from a pool: one `randomFillSync` a packet was 8-16 % of a download's CPU. */
const padding = Buffer.allocUnsafeSlow(16_384);
let paddingUsed = padding.length;

function fillPadding(to: Buffer, at: number, bytes: number): void {
  if (paddingUsed + bytes > padding.length) {
    randomFillSync(padding);
    paddingUsed = 0;
  }
  padding.copy(to, at, paddingUsed, paddingUsed + bytes);
  paddingUsed += bytes;
}

/** One packet of `data`, which has to fit, as it goes onto the wire. */
export function packetOf(
  data: Buffer,
  shape: PacketShape,
  channel: number,
  seal: (packet: Buffer, data: number) => void,
): Buffer {
  const packet = Buffer.allocUnsafe(packetBytes(shape, data.length));
  writePacketHead(packet, 0, shape, channel, data.length);
  data.copy(packet, PACKET_HEAD);
  const paddingAt = PACKET_HEAD + data.length;
  fillPadding(packet, paddingAt, packet.length - shape.tag - paddingAt);
  seal(packet, data.length);
  return packet;
}

/** One SSH packet in a slab: where it starts, and how much channel data it carries. */
interface Packet {
  readonly start: number;
  readonly data: number;
}

interface Layout {
  /** Called for each reply's header. */
  header(at: number, index: number): void;
  /** Called for each run of file data. */
  data(at: number, bytes: number): void;
}

/**
 * Walks through the places of everything in a slab. Positions depend only on what lies before them, so that a walk over
 * shortened lengths (a read that met the end of the file) finds each byte where the first walk put it. Pure.
 */
export function layOut(shape: PacketShape, packetSize: number, lengths: readonly number[], to: Layout): Packet[] {
  const packets: Packet[] = [];
  let start = 0;
  let used = 0;
  const close = () => {
    packets.push({ start, data: used });
    start += packetBytes(shape, used);
    used = 0;
  };
  for (const [index, length] of lengths.entries()) {
    // A header is never split over two packets.
    if (used + DATA_HEADER_BYTES > packetSize) close();
    to.header(start + PACKET_HEAD + used, index);
    used += DATA_HEADER_BYTES;
    let left = length;
    while (left > 0) {
      if (used === packetSize) close();
      const bytes = Math.min(left, packetSize - used);
      to.data(start + PACKET_HEAD + used, bytes);
      used += bytes;
      left -= bytes;
    }
  }
  if (used > 0) close();
  return packets;
}

/** A slab on its way: read into, then sent packet by packet as the window allows. */
export class SlabReply {
  readonly shape: PacketShape;
  /** Where the file's bytes belong, in order. */
  readonly views: Buffer[] = [];
  readonly #slab: Buffer;
  readonly #packetSize: number;
  readonly #requests: readonly ReadRequest[];
  readonly #onFreed: () => void;
  #packets: readonly Packet[] = [];
  #next = 0;
  /** Reasons to keep the memory: socket writes under way, and the reply itself until it is sent or dropped. */
  #holds = 1;

  /** `onFreed` is called when the memory is back in the pool. */
  constructor(
    slab: Buffer,
    shape: PacketShape,
    packetSize: number,
    requests: readonly ReadRequest[],
    onFreed: () => void,
  ) {
    this.#slab = slab;
    this.#onFreed = onFreed;
    this.shape = shape;
    this.#packetSize = packetSize;
    this.#requests = requests;
    layOut(
      shape,
      packetSize,
      requests.map((request) => request.length),
      {
        header: () => {},
        data: (at, bytes) => this.views.push(slab.subarray(at, at + bytes)),
      },
    );
  }

  /** The read is done: makes replies of its bytes. Returns how many of the requests got one; the rest met the end. */
  filled(bytes: number): number {
    const lengths: number[] = [];
    let left = bytes;
    for (const request of this.#requests) {
      if (left <= 0) break;
      lengths.push(Math.min(request.length, left));
      left -= request.length;
    }
    this.#packets = layOut(this.shape, this.#packetSize, lengths, {
      header: (at, index) => writeDataHeader(this.#slab, at, this.#requests[index]?.id ?? 0, lengths[index] ?? 0),
      data: () => {},
    });
    return lengths.length;
  }

  get finished(): boolean {
    return this.#next >= this.#packets.length;
  }

  /** Channel data of the next packet, or 0. */
  get nextData(): number {
    return this.#packets[this.#next]?.data ?? 0;
  }

  /** Channel data of all packets that weren't sent. */
  get dataLeft(): number {
    let sum = 0;
    for (let index = this.#next; index < this.#packets.length; index += 1) sum += this.#packets[index]?.data ?? 0;
    return sum;
  }

  /** Takes the next packet's data, for the public path. */
  takeData(): Buffer {
    const packet = this.#packets[this.#next];
    this.#next += 1;
    if (packet === undefined) return Buffer.alloc(0);
    return this.#slab.subarray(packet.start + PACKET_HEAD, packet.start + PACKET_HEAD + packet.data);
  }

  /** Completes and seals the packets that fit `window` bytes of data, and returns them as they go onto the wire. */
  sealUpTo(window: number, channel: number, seal: (packet: Buffer, data: number) => void): Buffer | undefined {
    const first = this.#packets[this.#next];
    if (first === undefined) return undefined;
    let left = window;
    let end = first.start;
    for (;;) {
      const packet = this.#packets[this.#next];
      if (packet === undefined || packet.data > left) break;
      const { start, data } = packet;
      end = start + packetBytes(this.shape, data);
      writePacketHead(this.#slab, start, this.shape, channel, data);
      const paddingAt = start + PACKET_HEAD + data;
      fillPadding(this.#slab, paddingAt, end - this.shape.tag - paddingAt);
      seal(this.#slab.subarray(start, end), data);
      left -= data;
      this.#next += 1;
    }
    return end === first.start ? undefined : this.#slab.subarray(first.start, end);
  }

  hold(): void {
    this.#holds += 1;
  }

  /** Gives the memory back to the pool with the last hold; returns whether this was it. */
  drop(): boolean {
    this.#holds -= 1;
    if (this.#holds !== 0) return false;
    slabs.give(this.#slab);
    this.#onFreed();
    return true;
  }
}
