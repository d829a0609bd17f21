/**
 * Failed logins by source (an address or an account) in a sliding window, in buckets of a tenth of it. A failure counts for
 * at least the window and at most a tenth longer: the count is never lower than the truth.
 *
 * All times are the site's clock, in milliseconds since 1970. Bounded: past `most` sources, the one with the fewest failures
 * makes place, so that a flood of new names can't push out those that count.
 */
const BUCKETS = 10;

/** `[source, [start of bucket, failures, start, failures, ...]]`: how a history is told to other nodes. */
export type Told = readonly (readonly [source: string, buckets: readonly number[]])[];

export class FailureHistory {
  readonly #sources = new Map<string, Map<number, number>>();
  readonly #most: number;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#sources.size;
  }

  add(source: string, now: number, windowMs: number, failures = 1): void {
    const width = Math.max(1, Math.floor(windowMs / BUCKETS));
    this.#addAt(source, Math.floor(now / width) * width, failures);
    // Room for a while, since looking for the lowest costs a pass over all.
    if (this.#sources.size > this.#most) this.#shrink(now, windowMs);
  }

  /** Failures in the window. */
  count(source: string, now: number, windowMs: number): number {
    const buckets = this.#sources.get(source);
    if (buckets === undefined) return 0;
    const from = oldest(now, windowMs);
    let sum = 0;
    for (const [start, failures] of buckets) if (start > from) sum += failures;
    return sum;
  }

  has(source: string): boolean {
    return this.#sources.has(source);
  }

  sources(): Iterable<string> {
    return this.#sources.keys();
  }

  forget(source: string): boolean {
    return this.#sources.delete(source);
  }

  /** The `most` sources with the most failures in the window. */
  top(most: number, now: number, windowMs: number): Told {
    const from = oldest(now, windowMs);
    this.#expire(from);
    const ranked = [...this.#sources].map(([source, buckets]) => ({ source, buckets, sum: sumOf(buckets) }));
    ranked.sort((a, b) => b.sum - a.sum);
    return ranked.slice(0, most).map(({ source, buckets }) => [source, [...buckets].flat()] as const);
  }

  /** Adds what was told; a bucket that isn't a pair of sane numbers is left out. */
  merge(told: Told): void {
    for (const [source, buckets] of told)
      for (let at = 0; at + 1 < buckets.length; at += 2) {
        const [start = Number.NaN, failures = 0] = buckets.slice(at, at + 2);
        if (Number.isSafeInteger(start) && failures > 0) this.#addAt(source, start, failures);
      }
  }

  #addAt(source: string, start: number, failures: number): void {
    let buckets = this.#sources.get(source);
    if (buckets === undefined) {
      buckets = new Map();
      this.#sources.set(source, buckets);
    }
    buckets.set(start, (buckets.get(start) ?? 0) + failures);
    // Windows that were changed leave buckets of other widths behind.
    if (buckets.size > 2 * BUCKETS) buckets.delete(Math.min(...buckets.keys()));
  }

  #expire(from: number): void {
    for (const [source, buckets] of this.#sources) {
      for (const start of buckets.keys()) if (start <= from) buckets.delete(start);
      if (buckets.size === 0) this.#sources.delete(source);
    }
  }

  #shrink(now: number, windowMs: number): void {
    this.#expire(oldest(now, windowMs));
    const keep = Math.floor(this.#most * 0.9);
    if (this.#sources.size <= keep) return;
    const ranked = [...this.#sources].map(([source, buckets]) => ({ source, sum: sumOf(buckets) }));
    ranked.sort((a, b) => b.sum - a.sum);
    for (const { source } of ranked.slice(keep)) this.#sources.delete(source);
  }
}

/** Buckets that start at or before this are over: all in them is older than the window. */
function oldest(now: number, windowMs: number): number {
  return now - windowMs - Math.max(1, Math.floor(windowMs / BUCKETS));
}

function sumOf(buckets: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const failures of buckets.values()) sum += failures;
  return sum;
}
