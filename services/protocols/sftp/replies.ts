import type { Socket } from "node:net";
import type { ServerChannel } from "ssh2";
import { STATUS_BYTES, statusReply, writeStatus } from "./encode.js";
import type { Meter } from "./meter.js";
import { Status, type StatusCode } from "./protocol.js";
import type { RawChannel } from "./raw-channel.js";
import { packetOf, type SlabReply } from "./slab.js";

/**
 * Everything that goes to the client, in one queue: the stream's bytes must not mix, and slabs and ssh2's own packets
 * share one cipher. Replies of one event-loop turn are joined into one write; the queue stands still while ssh2 holds a
 * part of a write (the window is used up), while keys are exchanged, and while the socket has too much.
 */

/** Unsent bytes on the socket above which nothing is added until it has drained. */
const SOCKET_AT_MOST = 4 * 1_048_576;
/** Joined replies are cut into writes of this size. */
const JOIN_AT_MOST = 65_536;
/** Replies up to this size are made into a packet here: ssh2's way to it costs several times the encryption. */
const OWN_PACKET_AT_MOST = 32_768;
/** A window smaller than half of the largest seen is waited for this long, then used as it is. */
const WINDOW_PATIENCE_MS = 10;

export interface RepliesOptions {
  readonly channel: ServerChannel;
  readonly socket: Socket;
  /** Undefined: everything goes the public way. */
  readonly raw: RawChannel | undefined;
  readonly meter: Meter;
  /** Something was sent, answered or freed: more requests may be taken. Never called while a caller is in here. */
  readonly onProgress: () => void;
}

export class Replies {
  readonly #channel: ServerChannel;
  readonly #socket: Socket;
  readonly #raw: RawChannel | undefined;
  readonly #meter: Meter;
  readonly #onProgress: () => void;
  /** Requests answered OK in this turn. */
  #okIds: number[] = [];
  /** Other replies of this turn. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #queue: Array<Buffer | SlabReply> = [];
  #queuedBytes = 0;
  /** Slab bytes on the socket: they are counted by their slab already. */
  #slabBytesOnSocket = 0;
  #scheduled = false;
  /** No reply is left to wait for: what there is goes out at the end of this callback. */
  #isLast = false;
  #closed = false;
  #unanswered = 0;
  #largestWindow = 0;
  #patience: NodeJS.Timeout | undefined;
  #impatient = false;
  #stalled = false;
  readonly #onWritten = () => {
    // Also called, a tick late, for writes that ssh2 took whole: those say nothing of one that it still holds.
    if (!this.#stalled || this.#channel.writableLength > 0) return;
    this.#stalled = false;
    this.wake();
  };

  constructor(options: RepliesOptions) {
    this.#channel = options.channel;
    this.#socket = options.socket;
    this.#raw = options.raw;
    this.#meter = options.meter;
    this.#onProgress = options.onProgress;
  }

  /** Requests taken and not answered. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** Reply bytes that wait for the client, slabs apart. */
  get waitingBytes(): number {
    const socket = Math.max(0, this.#socket.writableLength - this.#slabBytesOnSocket);
    return (
      this.#partBytes + this.#okIds.length * STATUS_BYTES + this.#queuedBytes + this.#channel.writableLength + socket
    );
  }

  /** All that was asked is answered and with ssh2 or the socket. */
  get done(): boolean {
    return this.#unanswered === 0 && this.#okIds.length === 0 && this.#parts.length === 0 && this.#queue.length === 0;
  }

  /** A request was taken: exactly one reply must follow. */
  expect(): void {
    this.#unanswered += 1;
  }

  ok(id: number): void {
    this.#unanswered -= 1;
    if (this.#closed) return;
    this.#okIds.push(id);
    this.#schedule();
  }

  status(id: number, code: StatusCode, message: string): void {
    if (code !== Status.OK && code !== Status.EOF) this.#meter.error(code);
    this.reply(statusReply(id, code, message));
  }

  /** A whole reply. The buffer is this queue's from now on. */
  reply(reply: Buffer): void {
    this.#unanswered -= 1;
    this.greet(reply);
  }

  /** A packet that answers no request: VERSION. */
  greet(packet: Buffer): void {
    if (this.#closed) return;
    this.#parts.push(packet);
    this.#partBytes += packet.length;
    this.#schedule();
  }

  /** A slab that holds replies to `requests` requests. */
  slab(reply: SlabReply, requests: number): void {
    this.#unanswered -= requests;
    if (this.#closed) {
      reply.drop();
      return;
    }
    // What was answered before it goes before it.
    this.#join();
    this.#queue.push(reply);
    this.#schedule();
  }

  /** Tries again: the socket has drained, or a key exchange is over. */
  wake(): void {
    if (!this.#closed) this.#schedule();
  }

  /** The channel is gone: replies are dropped from now on. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#patience);
    for (const item of this.#queue) if (!Buffer.isBuffer(item)) item.drop();
    this.#queue = [];
    this.#parts = [];
    this.#okIds = [];
    this.#partBytes = 0;
    this.#queuedBytes = 0;
  }

  /**
   * After the poll phase, so that the replies of all calls that finished in it go out together. At the end of the current
   * callback where none is left to wait for: a client that asks one thing after the other has its answer half a turn earlier.
   */
  #schedule(): void {
    if (this.#unanswered === 0 && !this.#isLast) {
      this.#isLast = true;
      queueMicrotask(this.#flush);
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (!this.#isLast) setImmediate(this.#flush);
  }

  readonly #flush = () => {
    if (!this.#scheduled) return;
    this.#scheduled = false;
    this.#isLast = false;
    if (this.#closed) return;
    this.#join();
    this.#pump();
    this.#onProgress();
  };

  #join(): void {
    const bytes = this.#partBytes + this.#okIds.length * STATUS_BYTES;
    if (bytes === 0) return;
    let joined = Buffer.allocUnsafe(Math.min(bytes, JOIN_AT_MOST));
    let at = 0;
    let left = bytes;
    const room = (wanted: number) => {
      if (at + wanted <= joined.length) return;
      if (at > 0) this.#enqueue(joined.subarray(0, at));
      joined = Buffer.allocUnsafe(Math.max(wanted, Math.min(left, JOIN_AT_MOST)));
      at = 0;
    };
    for (const id of this.#okIds) {
      room(STATUS_BYTES);
      at = writeStatus(joined, at, id, Status.OK);
      left -= STATUS_BYTES;
    }
    for (const part of this.#parts) {
      left -= part.length;
      if (part.length >= JOIN_AT_MOST / 4) {
        // Copying it would cost more than its own write.
        this.#enqueue(part);
        continue;
      }
      room(part.length);
      part.copy(joined, at);
      at += part.length;
    }
    if (at > 0) this.#enqueue(joined.subarray(0, at));
    this.#okIds = [];
    this.#parts = [];
    this.#partBytes = 0;
  }

  #enqueue(bytes: Buffer): void {
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
  }

  #pump(): void {
    // a cork costs as much as the write of one small packet
    const isOne = this.#queue.length <= 1;
    if (!isOne) this.#socket.cork();
    try {
      while (this.#queue.length > 0 && this.#mayWrite() && this.#sendFirst());
    } finally {
      if (!isOne) this.#socket.uncork();
    }
  }

  #mayWrite(): boolean {
    // `_write` of a channel that isn't open never calls back (pitfalls.md): nothing may be given to it.
    if (!this.#channel.writable || (this.#raw !== undefined && !this.#raw.open)) return false;
    if (this.#channel.writableLength > 0) return false;
    if (this.#raw?.rekeying === true) return false;
    return this.#socket.writableLength - this.#slabBytesOnSocket < SOCKET_AT_MOST;
  }

  /** Sends the queue's first item, or a part of it; false when it has to wait. */
  #sendFirst(): boolean {
    const first = this.#queue[0];
    if (first === undefined) return false;
    if (Buffer.isBuffer(first)) {
      this.#queue.shift();
      this.#queuedBytes -= first.length;
      return this.#writeBytes(first);
    }
    if (first.finished) {
      // Its memory is still read from while ssh2 holds a part of it; `#mayWrite` came first, so none is held now.
      this.#queue.shift();
      first.drop();
      return true;
    }
    const raw = this.#raw;
    if (raw === undefined || raw.shape !== first.shape) {
      this.#writePublicly(first.takeData());
      return true;
    }
    return this.#sendSlab(raw, first);
  }

  #writeBytes(bytes: Buffer): boolean {
    const raw = this.#raw;
    const shape = bytes.length <= OWN_PACKET_AT_MOST ? raw?.shape : undefined;
    if (raw === undefined || shape === undefined || bytes.length > Math.min(raw.window, raw.packetSize)) {
      this.#writePublicly(bytes);
      return true;
    }
    const packet = this.#sealed(() => packetOf(bytes, shape, raw.id, (each, data) => raw.seal(each, data)));
    if (packet === undefined) return false;
    this.#meter.sent(bytes.length);
    this.#socket.write(packet);
    return true;
  }

  /** A packet may be half encrypted and its number used when this fails: nothing that could be sent then would be understood. */
  #sealed(seal: () => Buffer | undefined): Buffer | undefined {
    try {
      return seal();
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : undefined);
      return undefined;
    }
  }

  #writePublicly(bytes: Buffer): void {
    this.#meter.sent(bytes.length);
    this.#channel.write(bytes, this.#onWritten);
    // What the window didn't take is with ssh2 now; the queue goes on when ssh2 has called back.
    this.#stalled = this.#channel.writableLength > 0;
  }

  #sendSlab(raw: RawChannel, slab: SlabReply): boolean {
    const window = raw.window;
    this.#largestWindow = Math.max(this.#largestWindow, window);
    // Few large writes instead of one for each small step of the window: half of what the client is known to give. A
    // client that opens its window only when it is used up gets the rest after a short wait.
    const wanted = Math.min(slab.dataLeft, this.#largestWindow / 2);
    if (window < wanted && !this.#impatient) {
      raw.onceWindowGrows(() => this.wake());
      this.#patience ??= setTimeout(() => {
        this.#patience = undefined;
        this.#impatient = true;
        this.wake();
      }, WINDOW_PATIENCE_MS);
      return false;
    }
    clearTimeout(this.#patience);
    this.#patience = undefined;
    this.#impatient = false;
    if (window < slab.nextData) {
      // Less than one packet of ours: ssh2 sends it in as many as the window wants.
      this.#writePublicly(slab.takeData());
      return true;
    }
    const wire = this.#sealed(() => slab.sealUpTo(window, raw.id, (packet, data) => raw.seal(packet, data)));
    if (wire === undefined) return false;
    const bytes = wire.length;
    this.#meter.sent(bytes);
    this.#slabBytesOnSocket += bytes;
    slab.hold();
    this.#socket.write(wire, () => {
      this.#slabBytesOnSocket -= bytes;
      if (slab.drop()) this.wake();
    });
    return true;
  }
}
