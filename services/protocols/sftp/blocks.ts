/**
 * Memory that bulk uploads lie in between the socket and the storage. It is used again and again: memory that is made for
 * each read of the socket outlives the young generation's collections, and then each 32 MiB of upload cost a full one
 * ("external memory pressure").
 */

/** Some writes' worth; a WRITE of 255 KiB then lies in one piece more often than not. */
const BLOCK_BYTES = 1 << 19;
/** Kept for reuse (16 MiB); what is above goes to the collector. */
const MOST_KEPT = 32;

const kept: Buffer[] = [];

/** A piece of that memory. Whoever keeps a view of it past the current turn holds it until it needs the view no more. */
export class Block {
  readonly bytes: Buffer = kept.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  /** Bytes that are filled. */
  used = 0;
  #holders = 1;

  get room(): number {
    return this.bytes.length - this.used;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** Once for the maker and once for each `hold`. One that is forgotten costs the reuse, and nothing else. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0 && kept.length < MOST_KEPT) kept.push(this.bytes);
  }
}
