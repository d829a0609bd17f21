import type { Compare, Coordination, Entry, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { deadline, monotonicMs } from "#lib/clock.js";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import { failpoint } from "#lib/failpoints.js";
import type { Logger } from "#lib/logger.js";
import type { Effect, Placement, Store } from "#storage/contract.js";
import type { Finisher } from "./finish.js";
import type { Groups } from "./group.js";
import { meet, releaseOf } from "./plan.js";
import { type CommittedRecord, ownerOf, parseRecord } from "./records.js";
import { advance, type Meter, readUsage, takenBack, type UsageChange } from "./usage.js";

/** How an operation came out. All but `committed` mean: not in place. */
export type Outcome =
  | { readonly kind: "committed"; readonly finished: Promise<void> }
  | { readonly kind: "refused"; readonly error: LongshoreError }
  /** Certainly not applied; it may be tried again (an upload's id may first need a new incarnation). */
  | { readonly kind: "not-applied"; readonly error: LongshoreError }
  /** Taken over by another session or node. */
  | { readonly kind: "superseded" }
  /** Nobody can tell any more. */
  | { readonly kind: "unknown" };

type Who = "owner" | "helper";

const UNSURE = new Set(["unavailable", "outcome-unknown"]);

/**
 * Carries one staged operation from its transaction to its place (commit.md, steps 3 to 6). The owner, and whoever meets a
 * record of somebody else's, go the same way from step 4 on.
 */
export class Carrier {
  readonly #coordination: Coordination;
  readonly #store: Store;
  readonly #groups: Groups;
  readonly #finisher: Finisher;
  readonly #logger: Logger;
  readonly #meter: Meter | undefined;
  /** Our own finishes under way, so that the next operation on a name waits for them instead of helping. */
  readonly #finishing = new Map<string, { readonly effect: Effect; readonly end: Promise<void> }>();
  #stopped = false;

  constructor(
    coordination: Coordination,
    store: Store,
    groups: Groups,
    finisher: Finisher,
    logger: Logger,
    meter?: Meter,
  ) {
    this.#coordination = coordination;
    this.#store = store;
    this.#groups = groups;
    this.#finisher = finisher;
    this.#logger = logger;
    this.#meter = meter;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Ends of finishes now under way; for a clean stop. */
  async settled(): Promise<void> {
    this.#finisher.hurry();
    await Promise.all([...this.#finishing.values()].map(({ end }) => end));
  }

  /** `giveUpAt`: monotonic; an operation that was never sent by then is not applied. */
  async carry(id: string, wanted: CommittedRecord, giveUpAt: number): Promise<Outcome> {
    await this.#finishOwn(wanted.effect, giveUpAt);
    for (;;) {
      let usage: readonly UsageChange[];
      try {
        // anew each time: what was in the way may have changed what this one replaces
        usage = await this.#measure(wanted);
      } catch (error) {
        return { kind: "not-applied", error: asLongshoreError(error, "the storage failed") };
      }
      const record = usage.length === 0 ? wanted : { ...wanted, usage: usage.map(recorded) };
      const intent = { id, store: record.store, effect: record.effect, record: JSON.stringify(record), usage };
      const outcome = await this.#groups.submit(intent, giveUpAt);
      if (outcome.kind === "not-sent") return { kind: "not-applied", error: outcome.error };
      if (outcome.kind === "over") return this.#overQuota(id, record, outcome.error);
      if (outcome.kind === "lost") return this.#afterLoss(id, record.effect);
      if (outcome.kind === "committed") {
        failpoint("commit-applied");
        return this.#settle("owner", id, record, outcome.revision);
      }
      const own = outcome.by.find((entry) => entry.key === keys.op(id));
      if (own !== undefined) {
        const found = parseRecord(own);
        if (found.state === "SUPERSEDED") return { kind: "superseded" };
        if (found.state === "REFUSED") return this.#heardOfRefusal(own);
        return this.#settle("owner", id, found, own.modRevision);
      }
      for (const entry of outcome.by) await this.#makeWay(entry);
      if (monotonicMs() > giveUpAt) {
        return { kind: "not-applied", error: new LongshoreError("busy", "another change of that name is under way") };
      }
    }
  }

  async #measure({ effect, actor, size }: CommittedRecord): Promise<readonly UsageChange[]> {
    return (await this.#meter?.({ effect, account: actor.account, size })) ?? [];
  }

  /** An upload stays as its account's partial: there may be room when it comes back. */
  async #overQuota(id: string, { effect }: CommittedRecord, error: LongshoreError): Promise<Outcome> {
    try {
      if (effect.kind === "upload") await this.#store.markReleased(id);
      else await this.#store.cleanUp(id);
    } catch {
      // without the marker whoever resumes it copies first
    }
    return { kind: "refused", error };
  }

  /** Places and finishes an operation that is on record, whoever's it is; false where the record is gone by now. */
  async help(id: string): Promise<boolean> {
    const entry = await this.#coordination.get(keys.op(id));
    if (entry === undefined) return false;
    const record = parseRecord(entry);
    if (record.state !== "COMMITTED") return false;
    const outcome = await this.#settle("helper", id, record, entry.modRevision);
    this.#finisher.hurry();
    if (outcome.kind === "committed") await outcome.finished;
    return true;
  }

  /**
   * Our own claims that would be in the way: a transaction that meets them would be one in vain. Waited for no longer than the
   * operation may take: without the store no finish ends.
   */
  async #finishOwn(effect: Effect, giveUpAt: number): Promise<void> {
    const before: Promise<void>[] = [];
    for (const other of this.#finishing.values()) if (meet(effect, other.effect)) before.push(other.end);
    if (before.length === 0) return;
    this.#finisher.hurry();
    const patience = deadline(giveUpAt - monotonicMs());
    await Promise.race([Promise.all(before), patience.passed]);
    patience.clear();
  }

  /** A claim is in the way: wait for our own finish, or do it for whoever owes it (step 3). */
  async #makeWay(claim: Entry): Promise<void> {
    const id = claim.value;
    const own = this.#finishing.get(id);
    try {
      if (own === undefined) await this.help(id);
      else {
        this.#finisher.hurry();
        await own.end;
      }
    } catch (error) {
      this.#logger.warn("an operation in the way can't be finished yet", { op: id, error: String(error) });
      await createBackoff({ firstMs: 100, mostMs: 100 }).wait();
    }
  }

  async #settle(who: Who, id: string, record: CommittedRecord, revision: number): Promise<Outcome> {
    const placement = await this.#place(id, record.effect);
    if (placement.outcome === "placed") {
      failpoint("placed");
      const finished = this.#finisher.finish({ id, record, revision });
      this.#finishing.set(id, { effect: record.effect, end: finished });
      void finished.then(() => this.#finishing.delete(id));
      return { kind: "committed", finished };
    }
    if (placement.outcome === "refused") return this.#refuse(who, id, record, revision, placement.error);
    const entry = await this.#read(keys.op(id));
    if (entry === undefined) {
      // finished by another, if the owner still stands: had it been refused, the record would say so
      const owner = await this.#read(keys.owner(ownerOf(id)));
      return owner === undefined ? { kind: "unknown" } : { kind: "committed", finished: Promise.resolve() };
    }
    const found = parseRecord(entry);
    if (found.state === "REFUSED") return this.#heardOfRefusal(entry);
    if (found.state === "COMMITTED") {
      // records go before their staging does: somebody else's hand was in the storage. The name at least is freed.
      this.#logger.error("the staging of a committed change is gone from the storage", {
        op: id,
        effect: record.effect,
      });
      void this.#finisher.finish({ id, record, revision: entry.modRevision });
    }
    return { kind: "unknown" };
  }

  /** Another helped, and it couldn't be placed. Nobody else will ask for the record. */
  async #heardOfRefusal(entry: Entry): Promise<Outcome> {
    const compare = [{ key: entry.key, is: "modified-at" as const, revision: entry.modRevision }];
    await this.#coordination.transact({ compare, apply: [{ delete: entry.key }] }).catch(() => {});
    return { kind: "refused", error: new LongshoreError("io", "the change could not be put in place") };
  }

  /** Passing faults (no space for a directory entry, a stale mount) stay unanswered and are tried again (step 6). */
  async #place(id: string, effect: Effect): Promise<Placement> {
    const backoff = createBackoff({ firstMs: 50, mostMs: 2_000 });
    for (;;) {
      try {
        return await this.#store.place(id, effect);
      } catch (error) {
        this.#logger.error("a committed change can't be put in place yet", { op: id, error: String(error) });
        if (this.#stopped) throw error;
        await backoff.wait();
      }
    }
  }

  /**
   * Voids the claim; an upload's partial is kept. A helper leaves REFUSED in the record's place while the owner lives: an
   * owner that found nothing would take it for finished, and acknowledge what was never placed.
   */
  async #refuse(
    who: Who,
    id: string,
    record: CommittedRecord,
    revision: number,
    error: LongshoreError,
  ): Promise<Outcome> {
    const [remove, ...claims] = releaseOf(id, record.store, record.effect);
    const unchanged = { key: keys.op(id), is: "modified-at" as const, revision };
    const ownerKey = keys.owner(ownerOf(id));
    const backoff = createBackoff({ firstMs: 50, mostMs: 1_000 });
    while (!this.#stopped) {
      try {
        const owner = who === "owner" ? undefined : await this.#coordination.get(ownerKey);
        const stays = owner?.lease !== undefined && {
          put: keys.op(id),
          value: JSON.stringify({ ...record, state: "REFUSED" }),
          lease: owner.lease,
        };
        const counters = await this.#givenBack(record);
        const still = owner && { key: ownerKey, is: "created-at" as const, revision: owner.createRevision };
        const { applied } = await this.#coordination.transact({
          compare: [unchanged, ...(still ? [still] : []), ...counters.compare],
          apply: [...(stays ? [stays] : remove ? [remove] : []), ...claims, ...counters.apply],
        });
        if (applied) break;
        if ((await this.#coordination.get(keys.op(id)))?.modRevision !== revision) break;
      } catch {
        await backoff.wait();
      }
    }
    if (record.effect.kind !== "upload") await this.#store.cleanUp(id);
    return { kind: "refused", error };
  }

  /** The counters as they are without the change. */
  async #givenBack({ store, usage = [] }: CommittedRecord): Promise<{ compare: Compare[]; apply: Operation[] }> {
    const compare: Compare[] = [];
    const apply: Operation[] = [];
    for (const change of usage) {
      const key = keys.usage(store, change.target);
      const entry = await this.#coordination.get(key);
      const now = entry && readUsage(entry);
      if (entry === undefined || now === undefined) continue;
      compare.push({ key, is: "modified-at", revision: entry.modRevision });
      apply.push({ put: key, value: JSON.stringify(advance(now, takenBack(change))) });
    }
    return { compare, apply };
  }

  /**
   * The incarnation ended while its transaction was under way, and there is no record. Records are taken away only after the
   * data left the staging directory: data that is still there was never committed, and can't be any more.
   */
  async #afterLoss(id: string, effect: Effect): Promise<Outcome> {
    if (effect.kind === "upload" && (await this.#store.isStaged(id))) {
      const error = new LongshoreError(
        "cut-off",
        "this node lost its place in the site: the upload is kept, try again",
      );
      return { kind: "not-applied", error };
    }
    return { kind: "unknown" };
  }

  async #read(key: string): Promise<Entry | undefined> {
    const backoff = createBackoff({ firstMs: 50, mostMs: 1_000 });
    for (;;) {
      try {
        return await this.#coordination.get(key);
      } catch (error) {
        const known = asLongshoreError(error, "the store failed");
        if (this.#stopped || !UNSURE.has(known.code)) throw known;
        await backoff.wait();
      }
    }
  }
}

function recorded({ target, added, removed }: UsageChange) {
  return { target, added, removed };
}
