import { Socket } from "node:net";

/**
 * How a partner's socket is read. Node makes 64 KiB of memory for each read, which V8 counts as pressure from outside: at
 * full speed a whole collection for every 32 MiB. So a socket reads into memory that is used again: a read is copied to
 * memory of its own size, or, while somebody borrows the reads, shown where it lies.
 */

/** What one system call takes at most; several SSH packets, so that few of them lie across two reads. */
const READ_BYTES = 256 << 10;
/** From here on a read is bulk, and the next one is lent. */
const BULK = 16 << 10;
/** With less room than this a memory is full. */
const LEAST_ROOM = 64 << 10;
/** Kept for reuse (8 MiB); what is above goes to the collector. */
const MOST_KEPT = 32;

/** All reads that are copied come here: the memory is free again before the next one. */
const common = Buffer.allocUnsafeSlow(READ_BYTES);
const kept: Buffer[] = [];

/** Who may hold parts of the memory that reads are shown in, and lets go of them in the order in which they came. */
export interface Borrower {
  /**
   * Told after each read that was shown to the socket's "data" listeners where it lies: what `passed` has to reach before
   * nobody holds any of it. Undefined: that can't be known, and the memory is not used again.
   */
  shown(memory: ArrayBufferLike): number | undefined;
  /** Only ever grows. */
  readonly passed: number;
}

const readsOf = new WeakMap<Socket, Reads>();

/**
 * The same connection, paused, reading as above; `accepted` is of no use afterwards. Where this Node keeps its sockets
 * otherwise, `accepted` itself. Only before it has read anything, as `pauseOnConnect` gives it.
 */
export function withOwnReads(accepted: Socket): Socket {
  // Node has no public way to give an accepted socket its `onread` (net.Socket's option): the handle has to change hands.
  const holder = accepted as unknown as { _handle?: { useUserBuffer?: unknown } | null };
  const handle = holder._handle;
  if (handle === undefined || handle === null || typeof handle.useUserBuffer !== "function") return accepted;
  const reads = new Reads();
  holder._handle = null;
  const options = {
    handle,
    pauseOnCreate: true,
    readable: true,
    writable: true,
    onread: {
      buffer: () => reads.room,
      callback: (bytes: number, memory: Uint8Array) => reads.take(bytes, memory),
    },
  };
  const socket = new Socket(options);
  reads.socket = socket;
  readsOf.set(socket, reads);
  // Without a handle this closes nothing; the server counts it as gone.
  accepted.destroy();
  return socket;
}

/** From now on bulk reads are lent. False where somebody borrows them already, or the socket can't lend. */
export function borrowReads(socket: Socket, borrower: Borrower): boolean {
  const reads = readsOf.get(socket);
  if (reads === undefined || reads.borrower !== undefined) return false;
  reads.borrower = borrower;
  return true;
}

export function returnReads(socket: Socket): void {
  const reads = readsOf.get(socket);
  if (reads !== undefined) reads.borrower = undefined;
}

class Reads {
  socket: Socket | undefined;
  borrower: Borrower | undefined;
  /** Where reads go, and what the next one may fill: what lies before it is held by somebody. */
  #memory: Buffer = common;
  room: Buffer = common;
  /** Full of what was shown, oldest first, and from when on nobody holds it. */
  #held: { readonly memory: Buffer; readonly until: number }[] = [];

  /** False: no more for now. Called by Node within the read. */
  take(bytes: number, memory: Uint8Array): boolean {
    const socket = this.socket as Socket;
    const chunk = Buffer.from(memory.buffer, memory.byteOffset, bytes);
    const borrower = this.borrower;
    if (borrower === undefined) this.#forget();
    else if (this.#memory !== common && socket.readableFlowing === true && socket.readableLength === 0) {
      socket.emit("data", chunk);
      this.#afterLoan(borrower, borrower.shown(memory.buffer), bytes);
      return true;
    } else if (this.#memory === common && bytes >= BULK) this.#use(takeMemory());
    // Copied, so that the next read may go to the same place.
    return socket.push(Buffer.from(chunk));
  }

  #afterLoan(borrower: Borrower, until: number | undefined, bytes: number): void {
    while (this.#held[0] !== undefined && this.#held[0].until <= borrower.passed) {
      giveMemory((this.#held.shift() as { memory: Buffer }).memory);
    }
    if (until === undefined) {
      this.#use(bytes < BULK ? common : takeMemory());
      return;
    }
    if (until <= borrower.passed) {
      this.room = this.#memory;
      if (bytes >= BULK) return;
      giveMemory(this.#memory);
      this.#use(common);
      return;
    }
    // The next read goes behind this one: of a client that is faster than the storage many small ones may wait.
    this.room = this.room.subarray(bytes);
    if (this.room.length >= LEAST_ROOM) return;
    this.#held.push({ memory: this.#memory, until });
    this.#use(takeMemory());
  }

  /** The loan is over, and nobody says any more what is held. */
  #forget(): void {
    this.#held = [];
    if (this.#memory !== common) this.#use(common);
  }

  #use(memory: Buffer): void {
    this.#memory = memory;
    this.room = memory;
  }
}

function takeMemory(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
}

function giveMemory(memory: Buffer): void {
  if (kept.length < MOST_KEPT) kept.push(memory);
}
