import type { Coordination } from "#coordination/contract.js";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs } from "#lib/clock.js";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import { newIncarnation, parseIncarnation } from "#lib/incarnation.js";
import type { Logger } from "#lib/logger.js";
import type { Effect, Partial, PartialName, StagedFile, Store } from "#storage/contract.js";
import { Carrier } from "./carry.js";
import type { Actor, CommitJournal, CommitObserver, PartialState, Standing, Upload } from "./contract.js";

export type { Actor, CommitObserver, PartialState, Standing, Upload };

import { Finisher } from "./finish.js";
import { Groups } from "./group.js";
import { type ClosedNote, type CommittedRecord, ownerOf } from "./records.js";
import { Recovery } from "./recovery.js";
import { countable, supersede, type Trust, trustOf } from "./takeover.js";
import { OwnUpload, type UploadHost } from "./upload.js";
import type { Meter } from "./usage.js";

/** A change of names waits so long for the store before it is refused. */
const CHANGE_MS = 6_000;

export interface CommitEngineOptions {
  readonly coordination: Coordination;
  readonly store: Store;
  readonly standing: Standing;
  /** The node's name, for records. */
  readonly node: string;
  readonly nodeId: string;
  /** How long a partial that nobody resumes is kept, in milliseconds; asked anew at each sweep. */
  readonly partialLifetimeMs: () => number;
  readonly observer: CommitObserver;
  /** Default: what was done is on no record. */
  readonly journal?: CommitJournal;
  /** Default: no folder has a quota. */
  readonly meter?: Meter | undefined;
  readonly logger: Logger;
}

export interface OpenUpload {
  readonly name: PartialName;
  readonly actor: Actor;
  readonly power: boolean;
}

/**
 * Changes to the shared storage, as commit.md says. The only one that stages, commits, places, takes over and recovers;
 * sessions/ decides what a client may do, this decides how it becomes true.
 */
export interface CommitEngine {
  /** A new upload beside whatever is there. `pointed`: from now on it is what the account sees by this name. */
  openFresh(options: OpenUpload & { pointed: boolean }): Promise<Upload>;
  /** Takes over the account's partial of that name; undefined where there is none (any more). */
  openResume(options: OpenUpload): Promise<Upload | undefined>;
  /** The account's partial of that name. One that turns out to be committed is placed first, and is none. */
  findPartial(name: PartialName): Promise<PartialState | undefined>;
  listPartials(account: string, directory: string): Promise<readonly string[]>;
  /** Throws the partial away; false where there is none. */
  discardPartial(name: PartialName): Promise<boolean>;
  /** Remove, rename, mkdir, rmdir, link: committed, in place and synced when it resolves. */
  change(effect: Effect, actor: Actor, mode?: number): Promise<void>;
  /** Uploads under way in this process. */
  readonly uploads: number;
  start(): void;
  /** Lets finishes under way end. Idempotent. */
  stop(): Promise<void>;
}

export function createCommitEngine(options: CommitEngineOptions): CommitEngine {
  return new Engine(options);
}

class Engine implements CommitEngine, UploadHost {
  readonly store: Store;
  readonly carrier: Carrier;
  readonly observer: CommitObserver;
  readonly node: string;

  readonly #coordination: Coordination;
  readonly #standing: Standing;
  readonly #logger: Logger;
  readonly #groups: Groups;
  readonly #finisher: Finisher;
  readonly #recovery: Recovery;
  readonly #own = new Map<string, OwnUpload>();
  readonly #host: string | undefined;
  /** Incarnations under which this engine gave out ids. */
  readonly #mine = new Set<string>();
  /**
   * Of a process that was started without the store: it stages under this name, which has no key in the store and so can
   * commit nothing. When the node joins, what is open goes on under its first true incarnation, as after any other loss.
   */
  readonly #unregistered: string;
  #count = 0;
  #unsubscribe: (() => void) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: CommitEngineOptions) {
    const { coordination, store, standing, logger } = options;
    this.store = store;
    this.node = options.node;
    this.observer = options.observer;
    this.#coordination = coordination;
    this.#standing = standing;
    this.#logger = logger;
    this.#groups = new Groups(coordination, standing, logger);
    this.#finisher = new Finisher(coordination, store, options.journal);
    this.carrier = new Carrier(coordination, store, this.#groups, this.#finisher, logger, options.meter);
    this.#unregistered = newIncarnation(options.nodeId);
    this.#host = parseIncarnation(this.#unregistered)?.host;
    this.#recovery = new Recovery({
      coordination,
      store,
      carrier: this.carrier,
      observer: options.observer,
      logger,
      incarnation: () => this.incarnation(),
      own: () => this.#own.values(),
      adopt: (id, note) => this.#adoptClosed(id, note),
      partialLifetimeMs: options.partialLifetimeMs,
      newId: () => this.newId(),
    });
  }

  get uploads(): number {
    return this.#own.size;
  }

  start(): void {
    this.#unsubscribe = this.#standing.onIncarnation(() => void this.#adoptAll());
    this.#recovery.start();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  incarnation(): string | undefined {
    const standing = this.#standing.current();
    return standing?.lease.usable() ? standing.incarnation : undefined;
  }

  /** Ids hold the incarnation that alone may commit them; never reused. */
  newId(name?: PartialName): string {
    const incarnation = this.#standing.current()?.incarnation ?? this.#unregistered;
    this.#count += 1;
    this.#mine.add(incarnation);
    const id = `${incarnation}-${this.#count.toString(36)}`;
    return name === undefined ? id : `${id}-${this.store.tagOf(name)}`;
  }

  moved(upload: OwnUpload, from: string): void {
    this.#own.delete(from);
    this.#own.set(upload.id, upload);
  }

  gone(upload: OwnUpload): void {
    this.#own.delete(upload.id);
  }

  async openFresh(options: OpenUpload & { pointed: boolean }): Promise<Upload> {
    const before = options.pointed ? await this.store.findPartial(options.name) : undefined;
    const file = await this.store.stageUpload(this.newId(options.name), { power: options.power });
    try {
      if (options.pointed) await this.store.pointPartial(options.name, file.id);
    } catch (error) {
      await file.release();
      await this.store.discardUpload(file.id);
      throw error;
    }
    if (before !== undefined) void this.#dropReplaced(before);
    return this.#register(options, file, false, options.pointed);
  }

  async openResume(options: OpenUpload): Promise<Upload | undefined> {
    const taken = await this.#take(options.name);
    if (taken === undefined) return undefined;
    const file = await this.store.resumeUpload(taken.id, {
      power: options.power,
      trusted: taken.trust.noWriter,
      onlySynced: taken.trust.onlySynced,
    });
    return this.#register(options, file, true, true);
  }

  async findPartial(name: PartialName): Promise<PartialState | undefined> {
    for (let round = 0; ; round += 1) {
      const partial = await this.store.findPartial(name);
      if (partial === undefined) return undefined;
      if (this.#own.has(partial.id)) return partial;
      // a committed one that its node could not place any more must not be shown as a partial
      if (round < 3 && !this.#mine.has(ownerOf(partial.id)) && (await this.#helpIfCommitted(partial))) continue;
      const trust = await this.#trust(partial);
      return { id: partial.id, prefix: await countable(this.store, partial, trust), mtimeMs: partial.mtimeMs };
    }
  }

  listPartials(account: string, directory: string): Promise<readonly string[]> {
    return this.store.listPartials(account, directory);
  }

  async discardPartial(name: PartialName): Promise<boolean> {
    const taken = await this.#take(name);
    if (taken === undefined) return false;
    await this.store.unpointPartial(name, taken.id);
    await this.store.discardUpload(taken.id);
    return true;
  }

  async change(effect: Effect, actor: Actor, mode?: number): Promise<void> {
    const giveUpAt = monotonicMs() + CHANGE_MS;
    const record: CommittedRecord = {
      state: "COMMITTED",
      store: this.store.name,
      effect,
      actor,
      node: this.node,
      at: Date.now(),
    };
    for (;;) {
      const id = this.newId();
      await this.store.stageEffect(id, effect, mode);
      const outcome = await this.carrier.carry(id, record, giveUpAt);
      switch (outcome.kind) {
        case "committed":
          return;
        case "refused":
          throw outcome.error;
        case "not-applied":
          await this.store.cleanUp(id);
          // a new incarnation began meanwhile: nothing was done yet, so it may simply be done anew
          if (this.incarnation() !== undefined && this.incarnation() !== ownerOf(id) && monotonicMs() < giveUpAt) break;
          throw outcome.error;
        default:
          throw new LongshoreError("outcome-unknown", "the change may or may not have been made: check");
      }
    }
  }

  #register(options: OpenUpload, file: StagedFile, resumed: boolean, pointed: boolean): OwnUpload {
    const upload = new OwnUpload(this, options.name, file, options.actor, resumed, pointed);
    this.#own.set(upload.id, upload);
    return upload;
  }

  /** Takes the partial's directory under a new id of ours; undefined where there is no partial (any more). */
  async #take(name: PartialName): Promise<{ id: string; trust: Trust } | undefined> {
    for (let round = 0; round < 10; round += 1) {
      const partial = await this.store.findPartial(name);
      if (partial === undefined) return undefined;
      const own = this.#own.get(partial.id);
      if (own?.state === "closing") {
        await own.closing;
        if (own.state === "closing") throw new LongshoreError("busy", "that upload is being completed: try again");
        continue;
      }
      if (own !== undefined) {
        await own.lose(new LongshoreError("superseded", "the upload went on in another session"));
      } else if (!this.#mine.has(ownerOf(partial.id))) {
        if ((await supersede(this.#coordination, partial.id, this.node)) === "committed") {
          await this.carrier.help(partial.id);
          continue;
        }
      }
      const id = this.newId(name);
      const trust = await this.#trust(partial);
      if (!trust.noWriter && !(await this.store.taint(partial.directory))) continue;
      if (!(await this.store.takeDirectory(partial.directory, id))) continue;
      await this.store.repointPartial(name, partial.id, id);
      await this.store.removeClosed(partial.id);
      if (own === undefined) this.observer.recovered("taken-over");
      return { id, trust };
    }
    throw new LongshoreError("busy", "the upload is being taken over elsewhere: try again");
  }

  async #trust(partial: Partial): Promise<Trust> {
    const released = await this.store.isReleased(partial.directory);
    const tainted = await this.store.isTainted(partial.directory);
    return trustOf(partial, released, tainted, this.store.capabilities.local, this.#host);
  }

  async #helpIfCommitted(partial: Partial): Promise<boolean> {
    try {
      return await this.carrier.help(partial.id);
    } catch {
      return false; // without the store nobody can tell: it is shown as the partial that it looks like
    }
  }

  /** A partial that a new upload replaced. One that is still being written ends by its own session. */
  async #dropReplaced(partial: Partial): Promise<void> {
    try {
      const own = this.#own.get(partial.id);
      if (own !== undefined && own.state !== "owed") return;
      // another node's may be on its way into a transaction at this moment; the sweep takes it once its owner is gone
      if (own === undefined && !this.#mine.has(ownerOf(partial.id))) return;
      if (own !== undefined) await own.lose(new LongshoreError("superseded", "a newer upload replaced it"));
      await this.store.removeClosed(partial.id);
      await this.store.discardUpload(partial.directory);
    } catch (error) {
      this.#logger.warn("a replaced partial stays for the sweep", { op: partial.id, error: String(error) });
    }
  }

  /** A new incarnation began: what is open goes on under it. */
  async #adoptAll(): Promise<void> {
    for (const upload of [...this.#own.values()]) {
      if (upload.state !== "open" && upload.state !== "owed") continue;
      try {
        await upload.adopt();
      } catch (error) {
        const known = asLongshoreError(error, "the upload can't go on here");
        this.#logger.warn("an upload could not be adopted", { op: upload.id, error: known.message });
      }
    }
  }

  /** A closed upload that a dead node owed: taken over, and owed by us from now on. */
  async #adoptClosed(from: string, note: ClosedNote): Promise<boolean> {
    const pointer = note.record.pointer;
    if (pointer === undefined) return true;
    const name: PartialName = { account: pointer.account, path: pointer.path };
    if ((await this.store.findPartial(name))?.id !== from) return true;
    const taken = await this.#take(name);
    if (taken === undefined) return true;
    await this.store.putClosed(taken.id, JSON.stringify(note));
    const file = await this.store.resumeUpload(taken.id, {
      power: false,
      trusted: taken.trust.noWriter,
      onlySynced: false,
    });
    await file.seal({});
    await this.store.markReleased(taken.id);
    const upload = OwnUpload.owed(this, file, note, name);
    this.#own.set(upload.id, upload);
    return true;
  }

  async #stop(): Promise<void> {
    this.#unsubscribe?.();
    await this.#recovery.stop();
    const patience = createBackoff({ firstMs: 5_000, mostMs: 5_000 });
    await Promise.race([this.carrier.settled(), patience.wait()]);
    this.#groups.stop();
    this.carrier.stop();
    this.#finisher.stop();
  }
}
