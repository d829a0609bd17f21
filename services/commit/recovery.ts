import type { Coordination, Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import { isProcessGone } from "#lib/incarnation.js";
import type { Logger } from "#lib/logger.js";
import type { Store } from "#storage/contract.js";
import type { Carrier } from "./carry.js";
import type { CommitObserver } from "./contract.js";
import { type ClosedNote, closedNoteSchema, ownerOf, parseRecord } from "./records.js";
import type { OwnUpload } from "./upload.js";

const TICK_MS = 1_000;
/** A record whose owner lives is left to it for so long: it may only be slow. */
const PATIENCE_MS = 15_000;
const FIRST_SWEEP_MS = 20_000;
const SWEEP_MS = 600_000;
/** Staging of a dead owner that nobody can come back for. Past this no clean-up is still at it. */
const LEFT_MS = 3_000;
/** A node's death leaves such staging: looked at soon after. */
const AFTER_DEATH_MS = 4_000;
/** Our own upload that no pointer names and no session holds; this old, no open is between its two calls. */
const ORPHAN_MS = 3_600_000;

export interface RecoveryOptions {
  readonly coordination: Coordination;
  readonly store: Store;
  readonly carrier: Carrier;
  readonly observer: CommitObserver;
  readonly logger: Logger;
  readonly incarnation: () => string | undefined;
  readonly own: () => Iterable<OwnUpload>;
  /** Takes a dead node's closed upload over; true when the old note has no more meaning. */
  readonly adopt: (id: string, note: ClosedNote) => Promise<boolean>;
  readonly partialLifetimeMs: () => number;
  readonly newId: () => string;
}

/** Whose operations may be taken in hand now; pure. */
export function isAbandoned(id: string, owners: ReadonlySet<string>, own: string | undefined): boolean {
  const owner = ownerOf(id);
  if (owner === own) return false;
  return !owners.has(owner) || isProcessGone(owner);
}

/** Each second: finishes what dead nodes left decided, commits what is owed; now and then sweeps (commit.md, steps 9, 10). */
export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #stop = new AbortController();
  readonly #firstSeen = new Map<string, number>();
  #known: ReadonlySet<string> = new Set();
  #running: Promise<void> = Promise.resolve();
  #trouble: string | undefined;
  #nextSweep = monotonicMs() + FIRST_SWEEP_MS * (1 + Math.random());

  constructor(options: RecoveryOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { logger, incarnation } = this.#options;
    while (!this.#stop.signal.aborted) {
      await pause(TICK_MS * (0.75 + Math.random() / 2), this.#stop.signal);
      if (this.#stop.signal.aborted || incarnation() === undefined) continue;
      try {
        await this.#tick();
        if (this.#trouble !== undefined) logger.info("recovery works again");
        this.#trouble = undefined;
      } catch (error) {
        // Once for each trouble: a storage that is away stays so for many ticks.
        if (this.#trouble !== String(error)) logger.warn("recovery will try again", { error: String(error) });
        this.#trouble = String(error);
      }
    }
  }

  async #tick(): Promise<void> {
    const owners = await this.#owners();
    if ([...this.#known].some((owner) => !owners.has(owner))) {
      this.#nextSweep = Math.min(this.#nextSweep, monotonicMs() + AFTER_DEATH_MS);
    }
    this.#known = owners;
    await this.#finishOthers(owners);
    for (const upload of [...this.#options.own()]) {
      if (upload.state === "owed") await upload.retry();
    }
    await this.#adoptClosed(owners);
    if (monotonicMs() >= this.#nextSweep) {
      this.#nextSweep = monotonicMs() + SWEEP_MS * (0.5 + Math.random());
      await this.#sweep(owners);
    }
  }

  async #owners(): Promise<ReadonlySet<string>> {
    const { entries } = await this.#options.coordination.list(keys.ownerPrefix, { keysOnly: true });
    return new Set(entries.map((entry) => entry.key.slice(keys.ownerPrefix.length)));
  }

  async #finishOthers(owners: ReadonlySet<string>): Promise<void> {
    const { coordination, carrier, observer, logger, incarnation, store } = this.#options;
    const { entries } = await coordination.list(keys.opPrefix, { limit: 1_000 });
    const seen = new Set<string>();
    for (const entry of entries) {
      const id = entry.key.slice(keys.opPrefix.length);
      const record = parseRecord(entry);
      if (record.state === "SUPERSEDED") {
        if (ownerOf(id) === incarnation()) await this.#hearOfTakeOver(id, entry);
        continue;
      }
      if (record.state === "REFUSED" || record.store !== store.name) continue; // its owner's to hear of, and on its lease
      seen.add(id);
      const since = this.#firstSeen.get(id) ?? monotonicMs();
      this.#firstSeen.set(id, since);
      const slow = ownerOf(id) !== incarnation() && monotonicMs() - since > PATIENCE_MS;
      if (!slow && !isAbandoned(id, owners, incarnation())) continue;
      if (await carrier.help(id)) {
        observer.recovered("placed");
        logger.info("finished an operation that its node could not", { op: id, kind: record.effect.kind });
      }
    }
    for (const id of this.#firstSeen.keys()) if (!seen.has(id)) this.#firstSeen.delete(id);
  }

  /** One of our own was taken over: its session must stop believing in it. Then nobody needs the record any more. */
  async #hearOfTakeOver(id: string, entry: Entry): Promise<void> {
    for (const upload of [...this.#options.own()]) {
      if (upload.id !== id) continue;
      if (upload.state === "closing") return; // its commit meets the record itself
      await upload.lose(new LongshoreError("superseded", "the upload went on in another session"));
    }
    await this.#options.coordination.transact({
      compare: [{ key: entry.key, is: "modified-at", revision: entry.modRevision }],
      apply: [{ delete: entry.key }],
    });
  }

  async #adoptClosed(owners: ReadonlySet<string>): Promise<void> {
    const { store, adopt, incarnation, logger } = this.#options;
    const own = new Set([...this.#options.own()].map((upload) => upload.id));
    for (const { id, note } of await store.listClosed()) {
      if (own.has(id) || !isAbandoned(id, owners, incarnation())) continue;
      let parsed: ClosedNote;
      try {
        parsed = closedNoteSchema.parse(JSON.parse(note));
      } catch (error) {
        logger.error("a closed upload's note is damaged: its partial is kept", { op: id, error: String(error) });
        await store.removeClosed(id);
        continue;
      }
      if (await adopt(id, parsed)) await store.removeClosed(id);
    }
  }

  /** Takes away staging of dead owners that nobody can come back for, and partials past their time. */
  async #sweep(owners: ReadonlySet<string>): Promise<void> {
    const { store, coordination, incarnation, observer, logger, newId } = this.#options;
    const { entries } = await coordination.list(keys.opPrefix, { keysOnly: true });
    const recorded = new Set(entries.map((entry) => entry.key.slice(keys.opPrefix.length)));
    const open = new Set([...this.#options.own()].map((upload) => upload.id));
    // our own uploads, too, once their sessions ended: this process may live for months
    const ended = (id: string, hasData: boolean) => hasData && ownerOf(id) === incarnation() && !open.has(id);
    for (const { name, ageMs, hasData, pointed } of await store.listStaged()) {
      const id = name.replace(/\.(?:f|refused)$/, "");
      // by its key, not its process: a transaction that a killed process sent may still be applied while the key is there
      const dead = !owners.has(ownerOf(id));
      if (recorded.has(id) || !(ended(id, hasData) || dead)) continue;
      const left = name.endsWith(".f") || !hasData;
      // what no name leads to can't be found by anybody: of a dead owner it goes soon, of our own with caution
      const unreachable = dead ? LEFT_MS : ORPHAN_MS;
      const limit = left ? LEFT_MS : pointed ? this.#options.partialLifetimeMs() : unreachable;
      if (ageMs < limit) {
        if (limit === LEFT_MS) this.#nextSweep = Math.min(this.#nextSweep, monotonicMs() + AFTER_DEATH_MS);
        continue;
      }
      // taken over first: whoever resumes it at this moment has it whole, or doesn't find it
      const mine = newId();
      if (!(await store.takeDirectory(name, mine))) continue;
      await store.discardUpload(mine);
      observer.recovered("swept");
      logger.info("swept what a dead node left", { op: id, ageMs });
    }
  }
}
