import { deadline, monotonicMs, pause } from "#lib/clock.js";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import { failpoint } from "#lib/failpoints.js";
import type { PartialName, StagedFile, StatChange, Store } from "#storage/contract.js";
import type { Carrier, Outcome } from "./carry.js";
import type { Actor, CommitObserver, Upload } from "./contract.js";
import { type ClosedNote, type CommittedRecord, ownerOf } from "./records.js";

/** A close that takes longer than WinSCP waits (15 s) is answered as unknown before that (clients.md). */
const ANSWER_MS = 11_000;
/** Up to here a commit that could not be sent is tried again before the client hears of it. */
const SEND_MS = 6_000;

/** Writes of a node that can't commit wait so long for it to be able to again. */
const HOLD_MS = 8_000;
const HOLD_STEP_MS = 50;

/** What an upload needs of the engine. */
export interface UploadHost {
  readonly store: Store;
  readonly carrier: Carrier;
  readonly observer: CommitObserver;
  readonly node: string;
  /** The incarnation that may commit now, if any. */
  incarnation(): string | undefined;
  newId(name: PartialName): string;
  /** The id changed (adoption): the registry follows. */
  moved(upload: OwnUpload, from: string): void;
  /** It is out of this process's hands. */
  gone(upload: OwnUpload): void;
}

export type UploadState = "open" | "closing" | "owed" | "ended";

/** One upload written by this process, from its opening to its one end. */
export class OwnUpload implements Upload {
  id: string;
  readonly name: PartialName;
  readonly file: StagedFile;
  readonly resumedAt: number;
  readonly actor: Actor;
  state: UploadState = "open";
  /** Resolves at the end of a close under way. */
  closing: Promise<void> = Promise.resolve();

  readonly #host: UploadHost;
  #pointed: boolean;
  #lost: LongshoreError | undefined;
  #onLost: ((error: LongshoreError) => void) | undefined;
  #record: CommittedRecord | undefined;
  #replaces: number | undefined;
  #releasing: Promise<void> | undefined;
  #holding: Promise<void> | undefined;

  constructor(host: UploadHost, name: PartialName, file: StagedFile, actor: Actor, resumed: boolean, pointed: boolean) {
    this.#host = host;
    this.id = file.id;
    this.name = name;
    this.file = file;
    this.actor = actor;
    this.resumedAt = resumed ? file.prefix : 0;
    this.#pointed = pointed;
  }

  onLost(callback: (error: LongshoreError) => void): void {
    this.#onLost = callback;
    if (this.#lost) callback(this.#lost);
  }

  held(): Promise<void> | undefined {
    if (this.#host.incarnation() !== undefined) return undefined;
    this.#holding ??= this.#hold().finally(() => {
      this.#holding = undefined;
    });
    return this.#holding;
  }

  async point(): Promise<void> {
    if (this.#pointed) return;
    await this.#host.store.pointPartial(this.name, this.id);
    this.#pointed = true;
  }

  async unpoint(): Promise<void> {
    if (!this.#pointed) return;
    this.#pointed = false;
    await this.#host.store.unpointPartial(this.name, this.id);
  }

  commit(change: StatChange): Promise<{ size: number }> {
    if (this.state !== "open") {
      return Promise.reject(this.#lost ?? new LongshoreError("closed", "the upload is closed"));
    }
    this.state = "closing";
    const committing = this.#commit(change);
    this.closing = committing.then(
      () => {},
      () => {},
    );
    return committing;
  }

  release(): Promise<void> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  async discard(): Promise<void> {
    await this.file.release();
    try {
      await this.#host.store.unpointPartial(this.name, this.id);
      await this.#host.store.discardUpload(this.id);
    } catch {
      // swept later
    }
    this.#end();
  }

  /** Taken over by another session of this process, or by another node: every later call of the client's fails so. */
  async lose(error: LongshoreError): Promise<void> {
    this.#lost = error;
    const closing = this.state === "closing";
    this.#end();
    this.#onLost?.(error);
    if (!closing) await this.file.release();
  }

  /**
   * Goes on under this process's new incarnation: the old one can't commit any more, and others take over what is its own.
   * The directory's rename decides, as between any two takers. False where somebody was faster.
   */
  async adopt(): Promise<boolean> {
    const incarnation = this.#host.incarnation();
    if (incarnation === undefined) return false;
    if (ownerOf(this.id) === incarnation) return true;
    const from = this.id;
    const id = this.#host.newId(this.name);
    if (!(await this.#host.store.takeDirectory(from, id))) {
      await this.lose(new LongshoreError("superseded", "the upload went on elsewhere"));
      return false;
    }
    // its name may mean a newer upload by now: then this one is nobody's to resume
    if (this.#pointed) this.#pointed = await this.#host.store.repointPartial(this.name, from, id);
    this.id = id;
    this.file.renamed(id);
    this.#host.moved(this, from);
    return true;
  }

  /** Tries to commit an upload that is owed; true when it is settled one way or the other. */
  async retry(): Promise<boolean> {
    const record = this.#record;
    if (this.state !== "owed" || record === undefined) return true;
    const from = this.id;
    if (!(await this.#stillWanted())) {
      await this.#host.store.removeClosed(from);
      // written anew: nobody comes back for this one. Else it stays as the partial that its name shows.
      if (!(await this.#isPointedAt())) await this.#host.store.discardUpload(from);
      if (this.state === "owed") this.#end();
      return true;
    }
    if (!(await this.adopt())) return this.state !== "owed";
    if (from !== this.id) {
      await this.#note();
      await this.#host.store.removeClosed(from);
    }
    this.state = "closing";
    const outcome = await this.#host.carrier.carry(this.id, record, monotonicMs() + SEND_MS);
    if (outcome.kind === "not-applied") {
      this.state = "owed";
      return false;
    }
    if (outcome.kind === "committed") this.#host.observer.recovered("closed");
    await this.#host.store.removeClosed(this.id);
    this.#settled(outcome);
    return true;
  }

  /** Makes an owed upload of what a dead node left behind. */
  static owed(host: UploadHost, file: StagedFile, note: ClosedNote, name: PartialName): OwnUpload {
    const upload = new OwnUpload(host, name, file, note.record.actor, true, true);
    upload.state = "owed";
    upload.#record = { ...note.record, pointer: { ...name } };
    upload.#replaces = note.replaces;
    return upload;
  }

  async #commit(change: StatChange): Promise<{ size: number }> {
    const started = monotonicMs();
    const { store, observer } = this.#host;
    let sealed: { size: number; inode: number };
    try {
      sealed = await this.file.seal(change);
    } catch (error) {
      await this.file.release();
      this.#end();
      throw this.#failed(asLongshoreError(error, "the upload can't be made durable"));
    }
    failpoint("upload-synced");
    this.#record = {
      state: "COMMITTED",
      store: store.name,
      effect: { kind: "upload", path: this.name.path },
      actor: this.actor,
      node: this.#host.node,
      at: Date.now(),
      inode: sealed.inode,
      size: sealed.size,
      pointer: { ...this.name },
    };
    const carrying = this.#carry(this.#record, started + SEND_MS);
    const patience = deadline(ANSWER_MS);
    const outcome = await Promise.race([carrying, patience.passed]);
    patience.clear();
    if (outcome === "late") {
      void carrying.then((result) => this.#afterLate(result));
      throw this.#failed(
        new LongshoreError("outcome-unknown", "the upload may or may not be complete: check, or send it again"),
      );
    }
    if (outcome.kind === "not-applied") await this.#owe();
    else this.#settled(outcome);
    if (outcome.kind !== "committed") throw this.#failed(errorOf(outcome));
    observer.committed((monotonicMs() - started) / 1_000);
    setImmediate(failpoint, "replied");
    return { size: sealed.size };
  }

  async #hold(): Promise<void> {
    const until = monotonicMs() + HOLD_MS;
    while (this.#host.incarnation() === undefined) {
      if (monotonicMs() > until) {
        throw new LongshoreError("cut-off", "this node is cut off from the site: the upload is kept, resume it later");
      }
      await pause(HOLD_STEP_MS);
    }
  }

  /** Carries it, under a new incarnation if the old one ends before the transaction could be sent. */
  async #carry(record: CommittedRecord, giveUpAt: number): Promise<Outcome> {
    try {
      for (;;) {
        const outcome = await this.#host.carrier.carry(this.id, record, giveUpAt);
        if (outcome.kind !== "not-applied" || monotonicMs() > giveUpAt) return outcome;
        const incarnation = this.#host.incarnation();
        if (incarnation === undefined || incarnation === ownerOf(this.id)) return outcome;
        if (!(await this.adopt())) return { kind: "superseded" };
      }
    } catch (error) {
      return { kind: "not-applied", error: asLongshoreError(error, "the commit failed") };
    }
  }

  async #afterLate(outcome: Outcome): Promise<void> {
    if (outcome.kind === "not-applied") await this.#owe();
    else this.#settled(outcome);
  }

  /** Whole and durable, but not committed for a passing reason: noted, so that it is finished even if this node dies. */
  async #owe(): Promise<void> {
    this.state = "owed";
    const { store } = this.#host;
    try {
      await store.markReleased(this.id);
    } catch {
      // without it whoever takes the upload copies it first: slower, as safe
    }
    try {
      this.#replaces = (await store.find(this.name.path))?.inode;
    } catch {
      this.#replaces = -1;
    }
    await this.#note();
  }

  async #note(): Promise<void> {
    const record = this.#record;
    if (record === undefined) return;
    const note: ClosedNote = { record, ...(this.#replaces !== undefined && { replaces: this.#replaces }) };
    try {
      await this.#host.store.putClosed(this.id, JSON.stringify(note));
    } catch {
      // still owed by this process; after its death the client's own repeat is what is left
    }
  }

  /**
   * Only while its name still means it: a newer upload of the account's points elsewhere, and another file in the target's
   * place was committed later. Files come in the order of their transactions, never with an old one over a newer.
   */
  async #stillWanted(): Promise<boolean> {
    const { store } = this.#host;
    const partial = await store.findPartial(this.name);
    if (partial?.id !== this.id) return false;
    return (await store.find(this.name.path))?.inode === this.#replaces;
  }

  #settled(outcome: Outcome): void {
    if (outcome.kind === "committed") void outcome.finished.then(() => this.#end());
    else this.#end();
  }

  async #release(): Promise<void> {
    if (this.state !== "open") return;
    await this.file.release();
    // nothing to resume, or written anew since: no one will come for it
    if (!this.#pointed || this.file.prefix === 0 || !(await this.#isPointedAt())) await this.discard();
    else this.#end();
  }

  async #isPointedAt(): Promise<boolean> {
    try {
      return (await this.#host.store.findPartial(this.name))?.id === this.id;
    } catch {
      return true; // the storage fails: keep it
    }
  }

  #failed(error: LongshoreError): LongshoreError {
    this.#host.observer.failed(error.code);
    return error;
  }

  #end(): void {
    if (this.state === "ended") return;
    this.state = "ended";
    this.#host.gone(this);
  }
}

function errorOf(outcome: Outcome): LongshoreError {
  switch (outcome.kind) {
    case "refused":
    case "not-applied":
      return outcome.error;
    case "superseded":
      return new LongshoreError("superseded", "the upload went on in another session");
    default:
      return new LongshoreError("outcome-unknown", "the upload may or may not be complete: check, or send it again");
  }
}
