import type { Compare, Coordination, Entry, Operation, TransactionResult } from "#coordination/contract.js";
import { LeaseGoneError, OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { asLongshoreError, isCode, LongshoreError } from "#lib/errors.js";
import { failpoint } from "#lib/failpoints.js";
import type { Logger } from "#lib/logger.js";
import type { Standing } from "./contract.js";
import { type CounterPlan, Counters } from "./counters.js";
import { blockersOf, chooseGroup, comparesOf, type Intent, operationsOf } from "./plan.js";
import { ownerOf, parseRecord } from "./records.js";

/** How one intent came out of its group. */
export type GroupOutcome =
  | { readonly kind: "committed"; readonly revision: number }
  /** Certainly not applied: these entries were in the way. */
  | { readonly kind: "blocked"; readonly by: readonly Entry[] }
  /** Certainly not applied: it would go past a quota. */
  | { readonly kind: "over"; readonly error: LongshoreError }
  /** Certainly not applied, and never will be: the incarnation in the id is over, or the time is up. */
  | { readonly kind: "not-sent"; readonly error: LongshoreError }
  /** The incarnation ended while its transaction was under way, and no record is left: only the storage can tell. */
  | { readonly kind: "lost" };

interface Waiting extends Intent {
  /** Monotonic; past it an intent that was never sent is given up. */
  readonly giveUpAt: number;
  readonly resolve: (outcome: GroupOutcome) => void;
}

const MOST_INTENTS = 64;

interface Fence {
  readonly incarnation: string;
  revision: number;
}

/**
 * Fenced group commit (commit.md, steps 2 and 3). Each group compares the mod revision of `owners/<incarnation>` with the
 * last one seen and rewrites it, so at most one group of an incarnation is in flight, and a delayed copy of an older one
 * can't be applied behind a newer. Intents wait while a group is under way and then go together: the busier, the cheaper.
 */
export class Groups {
  readonly #coordination: Coordination;
  readonly #standing: Standing;
  readonly #logger: Logger;
  readonly #counters: Counters;
  #queue: Waiting[] = [];
  #running = false;
  #stopped = false;
  #fence: Fence | undefined;
  #count = 0;
  /** Intents in one group; less where the store takes less than it was said to (`--max-txn-ops`). */
  #most = MOST_INTENTS;

  constructor(coordination: Coordination, standing: Standing, logger: Logger) {
    this.#coordination = coordination;
    this.#standing = standing;
    this.#logger = logger;
    this.#counters = new Counters(coordination);
  }

  /** Never rejects. Once sent, it goes on until its outcome is certain, however long the store is away. */
  submit(intent: Intent, giveUpAt: number): Promise<GroupOutcome> {
    return new Promise((resolve) => {
      this.#queue.push({ ...intent, giveUpAt, resolve });
      if (this.#running) return;
      this.#running = true;
      queueMicrotask(() => void this.#run());
    });
  }

  /** What waits is given up; a group under way stays unknown (recovery tells). Idempotent. */
  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const standing = this.#standing.current();
      if (this.#stopped || standing === undefined || !standing.lease.usable()) {
        this.#giveUp();
        await pause(this.#queue.length > 0 ? 20 : 0);
        continue;
      }
      if (this.#fence?.incarnation !== standing.incarnation) {
        this.#fence = { incarnation: standing.incarnation, revision: standing.ownerRevision };
      }
      this.#dropStale(standing.incarnation);
      const group = chooseGroup(this.#queue, this.#coordination.maxOperations, this.#most);
      if (group.length === 0) continue;
      const ids = new Set(group.map((intent) => intent.id));
      this.#queue = this.#queue.filter((intent) => !ids.has(intent.id));
      await this.#send(group, this.#fence);
    }
    this.#running = false;
  }

  #giveUp(): void {
    const now = monotonicMs();
    this.#settle(
      (intent) => this.#stopped || intent.giveUpAt <= now,
      () => new LongshoreError("cut-off", "this node is cut off from the site: the upload is kept, try again"),
    );
  }

  /** An id says who may commit it: others take an upload over once its incarnation's key is gone. */
  #dropStale(incarnation: string): void {
    this.#settle(
      (intent) => ownerOf(intent.id) !== incarnation,
      () => new LongshoreError("cut-off", "this node lost its place in the site for a moment: try again"),
    );
  }

  #settle(which: (intent: Waiting) => boolean, why: () => LongshoreError): void {
    const ended = this.#queue.filter(which);
    if (ended.length === 0) return;
    this.#queue = this.#queue.filter((intent) => !which(intent));
    const error = why();
    for (const intent of ended) intent.resolve({ kind: "not-sent", error });
  }

  async #send(chosen: readonly Waiting[], fence: Fence): Promise<void> {
    let counters: CounterPlan<Waiting>;
    try {
      counters = await this.#counters.plan(chosen);
    } catch (error) {
      const known = asLongshoreError(error, "the site's store doesn't answer");
      for (const intent of chosen) intent.resolve({ kind: "not-sent", error: known });
      return;
    }
    for (const { intent, error } of counters.over) intent.resolve({ kind: "over", error });
    const group = counters.sent;
    if (group.length === 0) return;
    this.#count += 1;
    const name = `group-${this.#count}`;
    const compare: Compare[] = [];
    const apply: Operation[] = [];
    for (const intent of group) {
      compare.push(...comparesOf(intent));
      apply.push(...operationsOf(intent));
    }
    compare.push(...counters.compare);
    apply.push(...counters.apply);
    const result = await this.#transact(name, fence, compare, apply, () => {
      const now = monotonicMs();
      return group.every((intent) => intent.giveUpAt <= now);
    });
    if (result === "too-large" && group.length > 1) {
      this.#most = Math.ceil(group.length / 2);
      this.#logger.warn("the store takes smaller transactions than expected: check etcd's --max-txn-ops", {
        most: this.#most,
      });
      this.#queue.unshift(...group);
    } else if (result === "not-sent" || result === "too-large") {
      const error = new LongshoreError("unavailable", "the site's store doesn't answer: the upload is kept, try again");
      for (const intent of group) intent.resolve({ kind: "not-sent", error });
    } else if (result === "ended") {
      for (const intent of group) intent.resolve(await this.#readBack(intent));
    } else if (result.applied) {
      fence.revision = result.revision;
      this.#counters.applied(counters, result.revision);
      for (const intent of group) intent.resolve({ kind: "committed", revision: result.revision });
    } else {
      const blockers = blockersOf(group, result);
      this.#counters.refused(counters, result.found.slice(1 + compare.length - counters.compare.length));
      for (const intent of group) {
        const by = blockers.get(intent.id);
        if (by !== undefined) intent.resolve({ kind: "blocked", by });
      }
      this.#queue.unshift(...group.filter((intent) => !blockers.has(intent.id)));
    }
  }

  /**
   * One fenced transaction, repeated unchanged until its outcome is certain. "ended": the owner key is gone, so nothing of
   * this incarnation can be applied any more, but it may have been. "not-sent": certainly not applied.
   */
  async #transact(
    name: string,
    fence: Fence,
    compare: readonly Compare[],
    apply: readonly Operation[],
    givenUp: () => boolean,
    rival?: string,
  ): Promise<TransactionResult | "ended" | "not-sent" | "too-large"> {
    const owner = keys.owner(fence.incarnation);
    const standing = this.#standing.current();
    const lease = standing?.incarnation === fence.incarnation ? standing.lease : undefined;
    const transaction = {
      compare: [{ key: owner, is: "modified-at" as const, revision: fence.revision }, ...compare],
      apply: [{ put: owner, value: name, ...(lease && { lease: lease.id }) }, ...apply],
    };
    const backoff = createBackoff({ firstMs: 20, mostMs: 500 });
    let maybeApplied = false;
    for (;;) {
      let result: TransactionResult;
      try {
        const call = this.#coordination.transact(transaction);
        failpoint("commit-sent");
        result = await call;
      } catch (error) {
        if (error instanceof LeaseGoneError) return maybeApplied ? "ended" : this.#notSent(error);
        if (isCode(error, "limit") && !maybeApplied) return "too-large";
        if (error instanceof OutcomeUnknownError) maybeApplied = true;
        if (!maybeApplied && (givenUp() || this.#stopped || !lease?.usable())) return this.#notSent(error);
        if (this.#stopped) return "ended";
        await backoff.wait();
        continue;
      }
      if (result.applied) return result;
      const seen = result.found[0]?.[0];
      if (seen === undefined) return maybeApplied ? "ended" : this.#notSent("the owner key is gone");
      if (seen.value === name && seen.modRevision !== fence.revision) {
        return { applied: true, revision: seen.modRevision }; // an earlier copy of this very group was applied
      }
      if (seen.value === rival) return result;
      if (seen.modRevision !== fence.revision) {
        // nobody else writes this key: our own bookkeeping would be wrong
        this.#logger.error("the fence of this incarnation moved by another's hand", { name, value: seen.value });
        return maybeApplied ? "ended" : this.#notSent("fence");
      }
      if (!maybeApplied) return result;
      // a delayed copy of it could still be applied once what blocks it goes: a newer fence shuts that out
      const shut = await this.#transact(`${name}-shut`, fence, [], [], () => false, name);
      if (typeof shut === "string") return "ended";
      if (!shut.applied) continue; // the delayed copy was faster: the next round sees its name
      fence.revision = shut.revision;
      return result;
    }
  }

  #notSent(why: unknown): "not-sent" {
    this.#logger.warn("a commit could not be sent", { why: why instanceof Error ? why.message : String(why) });
    return "not-sent";
  }

  async #readBack(intent: Intent): Promise<GroupOutcome> {
    const backoff = createBackoff({ firstMs: 50, mostMs: 1_000 });
    while (!this.#stopped) {
      try {
        const entry = await this.#coordination.get(keys.op(intent.id));
        if (entry !== undefined && parseRecord(entry).state === "COMMITTED") {
          return { kind: "committed", revision: entry.modRevision };
        }
        return { kind: "lost" };
      } catch {
        await backoff.wait();
      }
    }
    return { kind: "lost" };
  }
}
