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
/** Kept for reuse (8 MiB); what is above goes to the collector. */
const MOST_KEPT = 32;

/** All reads that are copied come here: the memory is free again before the next one. */
const common = Buffer.allocUnsafeSlow(READ_BYTES);
const kept: Buffer[] = [];

/**
 * Whether anything still holds a part of the memory that a read was shown in. `later`: it is held in order, and free when a
 * later read's is. `unknown`: it is not used again.
 */
export type Holding = "free" | "later" | "unknown";
/** Told after each read that was shown to the socket's "data" listeners where it lies. */
export type Borrower = (memory: ArrayBufferLike) => Holding;

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
      buffer: () => reads.memory,
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
  /** Where the next read goes. */
  memory: Buffer = common;
  /** Shown, and held by somebody for now. */
  #held: Buffer[] = [];

  /** False: no more for now. Called by Node within the read. */
  take(bytes: number, memory: Uint8Array): boolean {
    const socket = this.socket as Socket;
    const chunk = Buffer.from(memory.buffer, memory.byteOffset, bytes);
    if (this.borrower === undefined) this.#held = [];
    else if (this.memory !== common && socket.readableFlowing === true && socket.readableLength === 0) {
      socket.emit("data", chunk);
      this.#afterLoan(this.borrower?.(memory.buffer) ?? "unknown", bytes);
      return true;
    }
    if (this.memory !== common) this.#use(common);
    else if (bytes >= BULK && this.borrower !== undefined) this.memory = takeMemory();
    return socket.push(Buffer.from(chunk));
  }

  #afterLoan(holding: Holding, bytes: number): void {
    if (holding === "free") {
      for (const memory of this.#held.splice(0)) giveMemory(memory);
      if (bytes < BULK) this.#use(common);
      return;
    }
    if (holding === "later") this.#held.push(this.memory);
    this.memory = bytes < BULK ? common : takeMemory();
  }

  /** What was read into until now is free. */
  #use(memory: Buffer): void {
    giveMemory(this.memory);
    this.memory = memory;
  }
}

function takeMemory(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
}

function giveMemory(memory: Buffer): void {
  if (kept.length < MOST_KEPT) kept.push(memory);
}
