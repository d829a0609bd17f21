import { LongshoreError } from "./errors.js";

/**
 * Lets at most `permits` pieces of work run at once and at most `queueLimit` wait, first come, first served. More are
 * refused at once: a queue without a bound turns overload into memory and into answers that nobody waits for.
 */
export class Semaphore {
  #free: number;
  readonly #queueLimit: number;
  readonly #waiting: (() => void)[] = [];

  constructor(permits: number, queueLimit: number) {
    this.#free = permits;
    this.#queueLimit = queueLimit;
  }

  /** Pieces of work that wait for a permit. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `work` when its turn comes. Rejects with "busy", without running it, where the queue is full. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else if (this.#waiting.length >= this.#queueLimit) throw new LongshoreError("busy", "too much at once; try again");
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      // The permit passes to the next in line and is never free in between, so nobody overtakes the queue.
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
