/** One system call writes at most so much: larger ones gain nothing (speed.md) and hold memory. */
export const SLAB_BYTES = 1 << 20;
/** Kept for reuse; what is above goes to the collector. */
const MOST_KEPT = 32;

const free: Buffer[] = [];

/** A buffer of SLAB_BYTES, not cleared. Whoever takes it gives it back, once. */
export function takeSlab(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
}

export function giveSlab(slab: Buffer): void {
  if (free.length < MOST_KEPT) free.push(slab);
}

/** Copies `views` into `slab` from `at`; where they end. */
export function gather(slab: Buffer, at: number, views: readonly Buffer[]): number {
  let end = at;
  for (const view of views) {
    slab.set(view, end);
    end += view.length;
  }
  return end;
}
