/** The ranges written past a gap: disjoint, sorted, half-open. */
export class Gaps {
  #ranges: [number, number][] = [];

  get count(): number {
    return this.#ranges.length;
  }

  add(from: number, to: number): void {
    if (to <= from) return;
    let [start, end] = [from, to];
    const kept: [number, number][] = [];
    for (const range of this.#ranges) {
      if (range[1] < start || range[0] > end) {
        kept.push(range);
      } else {
        start = Math.min(start, range[0]);
        end = Math.max(end, range[1]);
      }
    }
    kept.push([start, end]);
    kept.sort((a, b) => a[0] - b[0]);
    this.#ranges = kept;
  }

  /** Takes out the first range if it starts at or below `prefix`; its end. */
  takeUpTo(prefix: number): number | undefined {
    const first = this.#ranges[0];
    if (first === undefined || first[0] > prefix) return undefined;
    this.#ranges.shift();
    return first[1];
  }

  /** Drops everything at and behind `size`. */
  cut(size: number): void {
    this.#ranges = this.#ranges
      .filter(([from]) => from < size)
      .map(([from, to]): [number, number] => [from, Math.min(to, size)]);
  }

  /** Takes all of them. */
  take(): readonly (readonly [number, number])[] {
    const ranges = this.#ranges;
    this.#ranges = [];
    return ranges;
  }
}
