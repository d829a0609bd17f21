import type { Socket } from "node:net";
import type { Connection, ServerChannel } from "ssh2";
import { type Borrower, borrowReads, returnReads } from "../net/reads.js";

/**
 * Lends a connection's bulk reads to ssh2 (net/reads.ts). ssh2 decrypts a packet where it lies and hands out views of it, so
 * after each read it has to be known whether anything of it was kept. It wasn't where every packet in it was data of our
 * channel, the channel passed them on at once, and the decipher waits for no rest of one. These are private parts of ssh2
 * 1.17; where they aren't as expected, reads are copied, which is slower and right.
 */

interface PrivateDecipher {
  _onPayload(payload: Buffer): unknown;
  /** Of the packet that is coming: its length, and its memory once there is some. */
  _len?: number;
  _packet?: Buffer | null;
}

interface PrivateProtocol {
  readonly _decipher: PrivateDecipher;
  readonly _onPayload: (payload: Buffer) => unknown;
}

const CHANNEL_DATA = 94;
/** Deciphers that ask for a packet's memory by `if (!this._packet) this._packet = Buffer.allocUnsafe(this._len)`. */
const ASSEMBLING = new Set(["AESGCMDecipherBinding", "ChaChaPolyDecipherBinding"]);
/** OpenSSH's packets of channel data are 32 KiB and a little. */
const ASSEMBLED_BYTES = 40 << 10;
/** Of such memory kept by a connection for reuse: as much as the channel's window needs, one packet in a few. */
const MOST_ASSEMBLIES = 16;

export interface Loan {
  /** The channel's listener has done with so many bytes more, in order. */
  pass(bytes: number): void;
  end(): void;
}

/** Undefined where none could be made. */
export function lendReads(client: Connection, channel: ServerChannel, socket: Socket): Loan | undefined {
  // The one cast here; checked field by field.
  const protocol = (client as unknown as { _protocol?: Partial<PrivateProtocol> })._protocol;
  const id = (channel as unknown as { incoming?: { id?: unknown } }).incoming?.id;
  if (protocol === undefined || typeof id !== "number" || typeof protocol._onPayload !== "function") return undefined;
  if (typeof protocol._decipher?._onPayload !== "function") return undefined;
  const watch = new Watch(protocol as PrivateProtocol, channel, socket, id);
  return borrowReads(socket, watch) ? watch : undefined;
}

class Watch implements Borrower, Loan {
  /** Bytes of the channel that its listener has done with. */
  passed = 0;
  readonly #protocol: PrivateProtocol;
  readonly #channel: ServerChannel;
  readonly #channelId: number;
  #decipher: PrivateDecipher | undefined;
  /** A packet that isn't our channel's data was in this read: ssh2 may keep any part of it. */
  #foreign = false;
  /** The decipher's packet, and the memory that it may be put together in. */
  #packet: Buffer | null = null;
  #assembly: Buffer | undefined;
  /** What the channel holds for now, oldest first, and what is free. */
  readonly #heldAssemblies: { readonly memory: Buffer; readonly until: number }[] = [];
  readonly #spareAssemblies: Buffer[] = [];
  readonly #socket: Socket;

  constructor(protocol: PrivateProtocol, channel: ServerChannel, socket: Socket, channelId: number) {
    this.#protocol = protocol;
    this.#channel = channel;
    this.#socket = socket;
    this.#channelId = channelId;
  }

  pass(bytes: number): void {
    this.passed += bytes;
  }

  shown(memory: ArrayBufferLike): number | undefined {
    const decipher = this.#protocol._decipher;
    // New keys bring a new decipher, and a key exchange a handler of its own: those packets passed unseen.
    if (decipher !== this.#decipher || decipher._onPayload !== this.#onPayload) {
      this.#watch(decipher);
      return undefined;
    }
    if (this.#foreign) {
      this.#foreign = false;
      return undefined;
    }
    for (const part of [this.#packet, ...Object.values(decipher)]) {
      if (ArrayBuffer.isView(part) && part.buffer === memory) return undefined;
    }
    // Paused, because the storage is slower than the client: the channel gives what it holds in order.
    return this.passed + this.#channel.readableLength;
  }

  end(): void {
    returnReads(this.#socket);
    const decipher = this.#decipher;
    if (decipher === undefined) return;
    if (decipher._onPayload === this.#onPayload) decipher._onPayload = this.#protocol._onPayload;
    if (ASSEMBLING.has(decipher.constructor.name)) {
      Object.defineProperty(decipher, "_packet", { value: this.#packet, writable: true, enumerable: true });
    }
    this.#decipher = undefined;
  }

  #watch(decipher: PrivateDecipher): void {
    if (decipher._onPayload !== this.#protocol._onPayload) return;
    decipher._onPayload = this.#onPayload;
    this.#decipher = decipher;
    this.#foreign = false;
    if (ASSEMBLING.has(decipher.constructor.name)) this.#assemble(decipher);
  }

  /** A packet that lies across two reads is put together in memory of ours, instead of new memory each time. */
  #assemble(decipher: PrivateDecipher): void {
    this.#packet = decipher._packet ?? null;
    Object.defineProperty(decipher, "_packet", {
      configurable: true,
      enumerable: false,
      get: () => {
        const length = decipher._len ?? 0;
        if (this.#packet === null && length > 0 && length <= ASSEMBLED_BYTES) {
          this.#assembly ??= this.#freeAssembly();
          this.#packet = this.#assembly.subarray(0, length);
        }
        return this.#packet;
      },
      set: (packet: Buffer | null) => {
        this.#packet = packet;
      },
    });
  }

  #freeAssembly(): Buffer {
    while (this.#heldAssemblies[0] !== undefined && this.#heldAssemblies[0].until <= this.passed) {
      const { memory } = this.#heldAssemblies.shift() as { memory: Buffer };
      if (this.#spareAssemblies.length < MOST_ASSEMBLIES) this.#spareAssemblies.push(memory);
    }
    return this.#spareAssemblies.pop() ?? Buffer.allocUnsafeSlow(ASSEMBLED_BYTES);
  }

  readonly #onPayload = (payload: Buffer): unknown => {
    const foreign = payload[0] !== CHANNEL_DATA || payload.length < 5 || recipientOf(payload) !== this.#channelId;
    if (foreign) this.#foreign = true;
    const assembled = payload.buffer === this.#assembly?.buffer;
    const result = this.#protocol._onPayload(payload);
    if (assembled && (foreign || this.#channel.readableLength > 0)) {
      if (!foreign && this.#assembly !== undefined) {
        this.#heldAssemblies.push({ memory: this.#assembly, until: this.passed + this.#channel.readableLength });
      }
      this.#assembly = undefined;
    }
    return result;
  };
}

/** RFC 4254, section 5.2. */
function recipientOf(payload: Buffer): number {
  return new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(1);
}
