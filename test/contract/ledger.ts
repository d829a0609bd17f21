import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Coordination } from "#coordination/contract.js";
import { OutcomeUnknownError, StoreUnavailableError } from "#coordination/errors.js";
import { monotonicMs } from "#lib/clock.js";
import { until } from "#lib/testing.js";

/** A call may be late by so much on a busy machine, milliseconds. */
const SLACK_MS = 1_000;

type Outcome = "acknowledged" | "unknown" | "unavailable";

/**
 * Writers that count by compare-and-swap and keep a record of what they were told; afterwards the store must agree:
 * what was acknowledged is there, what was said to be without effect isn't, and nothing else is.
 */
export class Ledger {
  readonly #store: Coordination;
  readonly #deadlineMs: number;
  readonly #outcomes = new Map<string, { readonly worker: number; readonly n: number; readonly outcome: Outcome }>();
  readonly #tally: Record<Outcome, number> = { acknowledged: 0, unknown: 0, unavailable: 0 };
  readonly #workers: Promise<void>[] = [];
  #running = true;
  #slowestMs = 0;
  #lastSuccessAt = 0;
  #longestGapMs = 0;

  constructor(store: Coordination, workers: number, deadlineMs: number) {
    this.#store = store;
    this.#deadlineMs = deadlineMs;
    for (let worker = 0; worker < workers; worker++) this.#workers.push(this.#work(worker));
  }

  get acknowledged(): number {
    return this.#tally.acknowledged;
  }

  /** Milliseconds, the longest time without any success. */
  get longestGapMs(): number {
    return this.#longestGapMs;
  }

  /** Waits until `count` more calls were acknowledged: the store works. */
  async progress(count: number, timeoutMs: number): Promise<void> {
    const goal = this.acknowledged + count;
    await until(`${count} more acknowledged transactions`, () => this.acknowledged >= goal, { deadlineMs: timeoutMs });
  }

  /** Ends the writers, also of a test that failed: they would keep its process. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.allSettled(this.#workers);
  }

  /** Ends the writers and compares their records with the store. Returns a line for the test's output. */
  async settle(): Promise<string> {
    this.#running = false;
    await Promise.all(this.#workers);
    const applied = new Map<string, string>();
    for (const entry of (await this.#patiently(() => this.#store.list("history/", { deadlineMs: 10_000 }))).entries) {
      applied.set(entry.key, entry.value);
    }
    for (const [id, { worker, n, outcome }] of this.#outcomes) {
      const there = applied.get(historyKey(worker, n)) === id;
      if (outcome === "acknowledged") assert.ok(there, `acknowledged ${n} of worker ${worker} is lost`);
      if (outcome === "unavailable") assert.ok(!there, `${n} of worker ${worker} was applied, against our word`);
    }
    const known = new Set(this.#outcomes.keys());
    for (const [key, id] of applied) assert.ok(known.has(id), `nobody wrote ${key}`);
    for (let worker = 0; worker < this.#workers.length; worker++) {
      const counter = Number((await this.#patiently(() => this.#store.get(`counter/${worker}`)))?.value ?? 0);
      const steps = [...applied.keys()].filter((key) => key.startsWith(`history/${worker}/`)).length;
      assert.equal(counter, steps, `worker ${worker}: an update was lost or doubled`);
    }
    const limit = this.#deadlineMs + SLACK_MS;
    assert.ok(this.#slowestMs < limit, `a call took ${Math.round(this.#slowestMs)} ms, past ${limit} ms`);
    return `${JSON.stringify(this.#tally)}, slowest call ${Math.round(this.#slowestMs)} ms, longest gap ${Math.round(this.#longestGapMs)} ms`;
  }

  async #work(worker: number): Promise<void> {
    const key = `counter/${worker}`;
    while (this.#running) {
      try {
        const entry = await this.#timed(this.#store.get(key, { deadlineMs: this.#deadlineMs }));
        await this.#increment(worker, entry?.value, entry?.modRevision);
      } catch (error) {
        assert.ok(error instanceof StoreUnavailableError, `not one of our errors: ${String(error)}`);
        // An outage refuses at once; asking in a tight loop would only burn the shared machine.
        await delay(20);
      }
    }
  }

  async #increment(worker: number, value: string | undefined, revision: number | undefined): Promise<void> {
    const key = `counter/${worker}`;
    const n = Number(value ?? 0) + 1;
    const id = randomUUID();
    const compare =
      revision === undefined ? ({ key, is: "absent" } as const) : ({ key, is: "modified-at", revision } as const);
    const apply = [
      { put: key, value: String(n) },
      { put: historyKey(worker, n), value: id },
    ];
    const record = (outcome: Outcome) => {
      this.#tally[outcome] += 1;
      this.#outcomes.set(id, { worker, n, outcome });
    };
    try {
      const call = this.#store.transact({ compare: [compare], apply }, { deadlineMs: this.#deadlineMs });
      const result = await this.#timed(call);
      // Not applied: an earlier transaction of unknown outcome came first, after all.
      if (result.applied) record("acknowledged");
    } catch (error) {
      if (error instanceof OutcomeUnknownError) record("unknown");
      else if (error instanceof StoreUnavailableError) record("unavailable");
      else throw error;
    }
  }

  async #timed<T>(call: Promise<T>): Promise<T> {
    const startedAt = monotonicMs();
    try {
      const result = await call;
      const now = monotonicMs();
      if (this.#lastSuccessAt > 0) this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastSuccessAt);
      this.#lastSuccessAt = now;
      return result;
    } finally {
      this.#slowestMs = Math.max(this.#slowestMs, monotonicMs() - startedAt);
    }
  }

  #patiently<T>(read: () => Promise<T>): Promise<T> {
    return until("the store can be read at the end", async () => ({ result: await read() }), {
      deadlineMs: 20_000,
    }).then((one) => one.result);
  }
}

function historyKey(worker: number, n: number): string {
  return `history/${worker}/${String(n).padStart(8, "0")}`;
}
