import { DATA_HEADER_BYTES, writeDataHeader } from "./encode.js";
import type { OpenFile, ReadRequest, WaitingRead } from "./handles.js";
import { Status } from "./protocol.js";
import type { RawChannel } from "./raw-channel.js";
import type { Replies } from "./replies.js";
import { MIN_PACKET, SLAB_DATA, SLAB_READS, SlabReply, slabs } from "./slab.js";
import { statusOf } from "./status.js";

/**
 * READs. A client may have thousands under way and read no reply (pitfalls.md: 1 GiB of ssh2's memory): what is read is
 * bounded by what waits to be sent, the rest of the requests wait as numbers.
 *
 * A file's READs are answered in the order in which they came, as OpenSSH's server does, though RFC drafts don't ask for it:
 * PuTTY's pscp takes a reply that comes before its turn for the end of the connection (scp_recv_filedata in pscp.c).
 */

/** Slabs of one session being read or sent. Two keep the pipe full; the third covers the change-over. */
const SLABS_IN_FLIGHT = 3;
/** Bytes being read or waiting for the client, above which no small read is started. */
const BYTES_AT_MOST = 3 * 1_048_576;
/** The same when the process's slabs are used up by other sessions. */
const BYTES_AT_MOST_SCARCE = 524_288;
/** Below this a group of READs isn't worth a slab. */
const SLAB_WORTH = 65_536;
/** A request up to this size gets a buffer of its own; a larger one, whose file may be far smaller, borrows a slab. */
const SMALL_READ = 65_536;
/** Packets that we send: RFC 4253, section 6.1 lets no one count on more than 35,000 bytes. */
const PACKET_AT_MOST = 32_768;

export class Reader {
  readonly #replies: Replies;
  readonly #raw: RawChannel | undefined;
  /** Files with READs that wait, in turn. */
  #waiting: OpenFile[] = [];
  /** Files with reads that are done before their turn. */
  readonly #holding = new Set<OpenFile>();
  #slabsInFlight = 0;
  #bytesUnderWay = 0;
  #pumping = false;
  #closed = false;

  constructor(replies: Replies, raw: RawChannel | undefined) {
    this.#replies = replies;
    this.#raw = raw;
  }

  /** Takes a READ; `pump` starts it. */
  add(open: OpenFile, request: ReadRequest): void {
    open.reads.push({ ...request, turn: open.readsTaken });
    open.readsTaken += 1;
    if (!this.#waiting.includes(open)) this.#waiting.push(open);
  }

  /** Starts what may be started. */
  pump(): void {
    // A handle may call `done` before `read` returns, and that comes back here.
    if (this.#pumping || this.#closed) return;
    this.#pumping = true;
    try {
      // In turn, so that one bulk download starves no other file; what can't start now is passed over.
      for (let refused = 0; refused < this.#waiting.length; ) {
        const open = this.#waiting.shift();
        if (open === undefined) return;
        refused = this.#start(open) ? 0 : refused + 1;
        if (open.reads.length > 0) this.#waiting.push(open);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** The connection is gone: nothing more is started. */
  close(): void {
    this.#closed = true;
    this.#waiting = [];
    for (const open of this.#holding) {
      for (const { answer } of open.early.values()) answer();
      open.early.clear();
    }
    this.#holding.clear();
  }

  /** Answers it when all that came before it is answered. */
  #answerInTurn(open: OpenFile, turn: number, requests: number, answer: () => void): void {
    if (this.#closed) {
      answer(); // nobody hears it, but memory is given back
      return;
    }
    if (turn !== open.readsAnswered) {
      open.early.set(turn, { requests, answer });
      this.#holding.add(open);
      return;
    }
    open.readsAnswered += requests;
    answer();
    if (open.early.size > 0) this.#answerEarly(open);
  }

  #answerEarly(open: OpenFile): void {
    for (;;) {
      const next = open.early.get(open.readsAnswered);
      if (next === undefined) break;
      open.early.delete(open.readsAnswered);
      open.readsAnswered += next.requests;
      next.answer();
    }
    if (open.early.size === 0) this.#holding.delete(open);
  }

  #start(open: OpenFile): boolean {
    // One that others wait for, since a read fell short, must not wait for the memory that those hold.
    const awaited = open.early.size > 0 && open.reads[0]?.turn === open.readsAnswered;
    const shape = open.bulk && !awaited ? this.#raw?.shape : undefined;
    const packetSize = Math.min(this.#raw?.packetSize ?? 0, PACKET_AT_MOST);
    if (shape !== undefined && packetSize >= MIN_PACKET) {
      const count = groupOf(open.reads);
      const bytes = bytesOf(open.reads, count);
      if (bytes >= SLAB_WORTH) {
        if (this.#slabsInFlight >= SLABS_IN_FLIGHT || this.#replies.waitingBytes > BYTES_AT_MOST) return false;
        const slab = slabs.take();
        if (slab !== undefined) {
          this.#slabsInFlight += 1;
          const requests = open.reads.splice(0, count);
          this.#readSlab(
            open,
            new SlabReply(slab, shape, packetSize, requests, () => this.#slabFreed()),
            requests,
            bytes,
          );
          return true;
        }
      }
    }
    return this.#startSingle(open, awaited);
  }

  #slabFreed(): void {
    this.#slabsInFlight -= 1;
  }

  #readSlab(open: OpenFile, reply: SlabReply, requests: readonly WaitingRead[], wanted: number): void {
    const { offset, turn } = requests[0] ?? { offset: 0, turn: open.readsAnswered };
    open.readsUnderWay += 1;
    open.file.read(offset, reply.views, (error, bytes) => {
      if (error !== undefined || bytes <= 0) {
        reply.drop();
        this.#answerInTurn(open, turn, requests.length, () => {
          for (const request of requests) this.#refuse(request, error);
        });
      } else {
        const answered = reply.filled(bytes);
        // The read fell short: most likely the end, but only a read from there can say so.
        if (bytes < wanted) open.bulk = false;
        for (const request of requests.slice(answered).reverse()) this.#again(open, request);
        this.#answerInTurn(open, turn, answered, () => this.#replies.slab(reply, answered));
      }
      this.#readDone(open);
    });
  }

  /** Puts a READ back at the head. */
  #again(open: OpenFile, request: WaitingRead): void {
    open.reads.unshift(request);
    if (!this.#closed && !this.#waiting.includes(open)) this.#waiting.push(open);
  }

  #startSingle(open: OpenFile, awaited: boolean): boolean {
    const request = open.reads[0];
    if (request === undefined) return true;
    const bytes = DATA_HEADER_BYTES + request.length;
    const busy = this.#bytesUnderWay + this.#replies.waitingBytes;
    if (!awaited && busy > 0 && busy + bytes > (slabs.exhausted ? BYTES_AT_MOST_SCARCE : BYTES_AT_MOST)) return false;
    open.reads.shift();
    open.readsUnderWay += 1;
    this.#bytesUnderWay += bytes;
    // The first large READ of a file says nothing of its size: borrowed memory, so that a small file costs a small copy.
    const slab = request.length > SMALL_READ && !open.bulk ? slabs.take() : undefined;
    const buffer = slab ?? Buffer.allocUnsafe(bytes);
    open.file.read(request.offset, [buffer.subarray(DATA_HEADER_BYTES, bytes)], (error, count) => {
      let answer = () => this.#refuse(request, error);
      if (error === undefined && count > 0) {
        if (count === request.length) open.bulk = true;
        writeDataHeader(buffer, 0, request.id, count);
        const filled = buffer.subarray(0, DATA_HEADER_BYTES + count);
        // A slab goes back at once: small files are shorter than what was asked, and copying them is cheaper than a slab.
        const reply = slab === undefined ? filled : Buffer.from(filled);
        answer = () => this.#replies.reply(reply);
      }
      this.#answerInTurn(open, request.turn, 1, () => {
        this.#bytesUnderWay -= bytes;
        answer();
      });
      if (slab !== undefined) slabs.give(slab);
      this.#readDone(open);
    });
    return true;
  }

  #refuse(request: ReadRequest, error: Error | undefined): void {
    if (error === undefined) this.#replies.status(request.id, Status.EOF, "");
    else {
      const { code, message } = statusOf(error, "read");
      this.#replies.status(request.id, code, message);
    }
  }

  #readDone(open: OpenFile): void {
    open.readsUnderWay -= 1;
    if (!open.readsLeft) {
      const callback = open.onReadsDone;
      open.onReadsDone = undefined;
      callback?.();
    }
    this.pump();
  }
}

/** How many READs from the head can be one read: each starts where the one before ends. Pure. */
export function groupOf(reads: readonly ReadRequest[]): number {
  let count = 0;
  let bytes = 0;
  let expected = reads[0]?.offset ?? 0;
  for (const request of reads) {
    if (count === SLAB_READS || request.offset !== expected || bytes + request.length > SLAB_DATA) break;
    count += 1;
    bytes += request.length;
    expected = request.offset + request.length;
  }
  return count;
}

function bytesOf(reads: readonly ReadRequest[], count: number): number {
  let bytes = 0;
  for (let index = 0; index < count; index += 1) bytes += reads[index]?.length ?? 0;
  return bytes;
}
