import type { Compare, Coordination, Operation } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { createBackoff } from "#lib/backoff.js";
import { failpoint } from "#lib/failpoints.js";
import type { Store } from "#storage/contract.js";
import type { CommitJournal } from "./contract.js";
import { releaseOf } from "./plan.js";
import type { CommittedRecord } from "./records.js";

export interface Placed {
  readonly id: string;
  readonly record: CommittedRecord;
  /** The record's mod revision: another's finish is noticed by it. */
  readonly revision: number;
}

const MOST = 32;
/**
 * Nobody waits for a finish as a rule: those of a client that sends file after file share a transaction and a sync of the
 * audit record. Until then the claim holds the name; another node that meets it finishes by itself, so this stays short.
 */
const GATHER_MS = 20;

/**
 * Takes records and claims out of the store, and what is left of the staging off the storage (commit.md, step 5). It needs no
 * fence: the compare on the record makes it happen once, whoever does it. Finishes of one moment share a transaction.
 */
export class Finisher {
  readonly #coordination: Coordination;
  readonly #store: Store;
  readonly #journal: CommitJournal | undefined;
  #waiting: { placed: Placed; done: () => void }[] = [];
  #running = false;
  #stopped = false;
  #hurried = false;
  #gathering: NodeJS.Timeout | undefined;

  constructor(coordination: Coordination, store: Store, journal?: CommitJournal) {
    this.#coordination = coordination;
    this.#store = store;
    this.#journal = journal;
  }

  /** Resolves when the record is gone and the staging is cleaned, which may be some time later; never rejects. */
  finish(placed: Placed): Promise<void> {
    return new Promise((done) => {
      this.#waiting.push({ placed, done });
      if (!this.#running) this.#gather();
    });
  }

  /** Somebody waits for a finish: nothing is gathered any more. */
  hurry(): void {
    this.#hurried = this.#running;
    if (this.#stopped || this.#running || this.#waiting.length === 0) return;
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#running = true;
    queueMicrotask(() => void this.#run());
  }

  /** What waits stays in the store; another node's recovery finishes it. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#gathering);
  }

  #gather(): void {
    if (this.#waiting.length >= MOST) this.hurry();
    else if (!this.#stopped) this.#gathering ??= setTimeout(() => this.hurry(), GATHER_MS);
  }

  async #run(): Promise<void> {
    do {
      this.#hurried = false;
      const batch = this.#waiting.splice(0, MOST);
      await this.#journal?.record(batch.map((each) => each.placed));
      failpoint("recorded");
      if ((await this.#delete(batch.map((each) => each.placed))) === "refused") {
        for (const { placed } of batch) await this.#delete([placed]);
      }
      // Records go before their staging does: what may still be on record is left as it is.
      if (this.#stopped) break;
      failpoint("finish-applied");
      for (const { placed, done } of batch) {
        void this.#store.cleanUp(placed.id, placed.record.pointer).then(() => {
          failpoint("cleaned");
          done();
        });
      }
    } while (this.#waiting.length >= MOST || (this.#hurried && this.#waiting.length > 0));
    this.#running = false;
    if (this.#waiting.length > 0) this.#gather();
  }

  /** `refused` where a compare failed: one of them was finished by another. Repeating it is harmless. */
  async #delete(batch: readonly Placed[]): Promise<"applied" | "refused" | "stopped"> {
    const compare = batch.map(({ id, revision }): Compare => ({ key: keys.op(id), is: "modified-at", revision }));
    const apply = batch.flatMap(({ id, record }): readonly Operation[] => releaseOf(id, record.store, record.effect));
    const backoff = createBackoff({ firstMs: 50, mostMs: 1_000 });
    while (!this.#stopped) {
      try {
        const call = this.#coordination.transact({ compare, apply });
        failpoint("finish-sent");
        return (await call).applied ? "applied" : "refused";
      } catch {
        await backoff.wait();
      }
    }
    return "stopped";
  }
}
