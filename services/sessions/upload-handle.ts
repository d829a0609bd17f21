import type { Upload } from "#commit/contract.js";
import { asLongshoreError, isCode, LongshoreError } from "#lib/errors.js";
import type { Room } from "#quota/usages.js";
import type { ReadFile, StatChange } from "#storage/contract.js";
import type { AttributeChange, Attributes, FileHandle } from "./contract.js";
import type { TransferLog } from "./transfer-log.js";

export interface UploadHandleOptions {
  readonly upload: Upload;
  readonly readable: boolean;
  /** APPEND: where the first write is at 0, all go to the end. */
  readonly append: boolean;
  /** The committed file that this changes (copy-on-write), open; none for a new or resumed upload. */
  readonly base?: ReadFile;
  readonly resumed: boolean;
  /** Bits for a new file; a change of attributes overrides them. */
  readonly mode?: number;
  readonly log: TransferLog;
  /** How large the file may get by the quotas that bind it now; absent: none does. */
  readonly room?: RoomOf;
  /** Told of the place whose quota is used up. */
  readonly overQuota?: (target: string) => void;
  /** Asked again at the close: may the account still write this, whatever lies there by now? Throws. */
  readonly authorizeCommit: () => Promise<void>;
  /** Applies attributes to the committed file: a handle that wrote nothing is no upload. */
  readonly applyAttributes: (change: StatChange) => Promise<void>;
  readonly closed: () => void;
}

/** By what this node heard last, and by the store itself. */
export interface RoomOf {
  known(): Room | undefined;
  now(): Promise<Room | undefined>;
}

/** Between two looks at a quota. */
const CLEARED_BYTES = 1 << 20;

/** How much of the committed file a copy-on-write handle still stands on. */
type Base = { readonly file: ReadFile; limit: number };

/**
 * An open upload, whatever the protocol: the one close of every transfer into the store. Writes go straight to the staged
 * file; only a copy-on-write one may have to be filled up first (clients.md, "Handles").
 */
export class UploadHandle implements FileHandle {
  readonly readable: boolean;
  readonly writable = true;

  readonly #options: UploadHandleOptions;
  readonly #upload: Upload;
  #base: Base | undefined;
  #staged: { mode?: number; atime?: number; mtime?: number } = {};
  #wrote = false;
  #changedSize = false;
  /** Where the next WRITE goes, whatever its offset says; undefined: offsets count. See #first. */
  #appendAt: number | undefined;
  /** The highest end handed to the staged file, done or not. */
  #handedEnd: number;
  #failure: LongshoreError | undefined;
  /** Up to here the quota was asked. */
  #cleared: number;
  /** While it runs, writes wait behind it: filling up, pointing. */
  #preparing: Promise<void> | undefined;
  #waiting = 0;
  #ending: Promise<void> | undefined;

  constructor(options: UploadHandleOptions) {
    this.#options = options;
    this.#upload = options.upload;
    this.readable = options.readable;
    this.#handedEnd = options.upload.file.end;
    this.#cleared = options.room === undefined ? Number.POSITIVE_INFINITY : 0;
    this.#base = options.base && { file: options.base, limit: options.base.size };
    this.#upload.onLost((error) => {
      this.#failure ??= error;
    });
  }

  get id(): string {
    return this.#options.log.id;
  }

  /** Its close has begun: what changes attributes from now on comes after it. */
  get ending(): boolean {
    return this.#ending !== undefined;
  }

  /** Nothing more can come of it here. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  get pendingBytes(): number {
    return this.#upload.file.pendingBytes + this.#waiting;
  }

  async attributes(): Promise<Attributes> {
    const { file } = this.#upload;
    const now = Math.floor(Date.now() / 1_000);
    const size = this.#wrote || this.#changedSize ? Math.max(file.end, this.#base?.limit ?? 0) : this.#startSize();
    return {
      type: "file",
      size,
      mode: this.#staged.mode ?? this.#options.mode ?? 0o644,
      uid: 0,
      gid: 0,
      atime: this.#staged.atime ?? now,
      mtime: this.#staged.mtime ?? now,
      links: 1,
    };
  }

  async setAttributes(change: AttributeChange): Promise<void> {
    this.#check();
    if (change.mode !== undefined) this.#staged.mode = change.mode & 0o777;
    if (change.atime !== undefined && change.mtime !== undefined) {
      this.#staged.atime = change.atime;
      this.#staged.mtime = change.mtime;
    }
    if (change.size === undefined) return;
    const size = change.size;
    if (size > this.#cleared) await this.#after(() => this.#demandRoom(size));
    await this.#after(async () => {
      this.#changedSize = true;
      const base = this.#base;
      // no longer than what was written: the base is done with, uncopied (scp's overwrite)
      if (base !== undefined && size > this.#upload.file.prefix) {
        await this.#upload.file.fillFrom(base.file, Math.min(size, base.limit));
      }
      await this.#dropBase();
      await this.#upload.file.truncate(size);
    });
  }

  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void {
    this.#after(async () => {
      if (this.#base !== undefined) await this.#fill();
    }).then(
      () => this.#upload.file.read(offset, views, done),
      (error) => done(error as Error, 0),
    );
  }

  write(offset: number, views: readonly Buffer[], done: (error?: Error) => void): void {
    if (this.#failure !== undefined) {
      done(this.#failure);
      return;
    }
    if (!Number.isSafeInteger(offset) || !this.#wrote) {
      const refused = Number.isSafeInteger(offset) ? this.#first(offset) : noSuchOffset();
      if (refused !== undefined) {
        this.#failure = refused;
        done(refused);
        return;
      }
    }
    let bytes = 0;
    for (const view of views) bytes += view.length;
    const at = this.#appendAt ?? offset;
    if (this.#appendAt !== undefined) this.#appendAt += bytes;
    const end = at + bytes;
    // what was heard last may be a moment old: nobody is refused by that alone
    if (end > this.#cleared && !this.#fits(end, this.#options.room?.known())) this.#hold(() => this.#demandRoom(end));
    if (this.#base !== undefined) this.#prepare(at);
    this.#wrote = true;
    this.#handedEnd = Math.max(this.#handedEnd, at + bytes);
    if (this.#preparing === undefined) this.#hand(at, views, bytes, done);
    else this.#writeLater(at, views, bytes, done);
  }

  sync(): Promise<void> {
    return this.#after(() => this.#upload.file.sync());
  }

  close(): Promise<void> {
    this.#ending ??= this.#close();
    return this.#ending;
  }

  abandon(): Promise<void> {
    this.#ending ??= this.#abandon("connection-lost");
    return this.#ending;
  }

  /** What the client saw as the size when it opened. */
  #startSize(): number {
    if (this.#base !== undefined) return this.#base.limit;
    return this.#options.resumed ? Math.max(0, this.#upload.resumedAt - 1) : 0;
  }

  /** Whether the file may get that large; a yes holds for a while, so that not each packet asks. */
  #fits(size: number, room: Room | undefined): boolean {
    if (room !== undefined && size > room.bytes) return false;
    this.#cleared = Math.min(size + CLEARED_BYTES, room?.bytes ?? Number.POSITIVE_INFINITY);
    return true;
  }

  async #demandRoom(size: number): Promise<void> {
    if (this.#failure !== undefined || size <= this.#cleared) return;
    const room = await this.#options.room?.now();
    if (room === undefined || this.#fits(size, room)) return;
    this.#options.overQuota?.(room.limit.target);
    throw room.error();
  }

  /**
   * The first write says what the handle is about; a reason to refuse it, if any. One at 0 with APPEND comes from a client that
   * leaves the place to the server, as the protocol says: all its writes go to the end in the order of their arrival (`curl -a`
   * counts on from 0; asyncssh begins at 0 again with each piece). Any other comes from one that goes on with what it saw, and
   * means its offsets (`put -a` writes a partial's last byte again).
   */
  #first(offset: number): LongshoreError | undefined {
    if (this.#options.append && offset === 0) this.#appendAt = this.#startSize();
    if (this.#options.resumed && (this.#appendAt ?? offset) > this.#upload.resumedAt) {
      return new LongshoreError(
        "invalid-argument",
        "the upload can't go on behind what has arrived: ask for its size first",
      );
    }
    return undefined;
  }

  /**
   * Copy-on-write: decides by where this write goes whether the old content is needed. Written from 0 on, or behind its end, a
   * lost connection leaves a partial that a client can resume; anywhere else it doesn't.
   */
  #prepare(at: number): void {
    const base = this.#base as Base;
    const end = this.#handedEnd;
    if (end >= base.limit || (at <= end && (this.#wrote || at < base.limit))) {
      // in sequence from 0: the old content is not needed, or not yet
      if (!this.#wrote) this.#hold(() => this.#upload.point());
    } else if (!this.#wrote && at === base.limit) {
      this.#hold(async () => {
        await this.#fill();
        await this.#upload.point();
      });
    } else {
      this.#hold(async () => {
        await this.#upload.unpoint();
        await this.#fill();
      });
    }
  }

  async #fill(): Promise<void> {
    const base = this.#base;
    if (base === undefined) return;
    await this.#upload.file.fillFrom(base.file, base.limit);
    await this.#dropBase();
  }

  async #dropBase(): Promise<void> {
    const base = this.#base;
    this.#base = undefined;
    await base?.file.close();
  }

  /** Runs `work` behind what is being prepared; until it is done, writes wait. A failure of it is the handle's. */
  #hold(work: () => void | Promise<void>): Promise<void> {
    const before = this.#preparing ?? Promise.resolve();
    const held: Promise<void> = before.then(work).then(
      () => {
        if (this.#preparing === held) this.#preparing = undefined;
      },
      (error) => {
        this.#failure ??= asLongshoreError(error, "the storage failed");
        if (this.#preparing === held) this.#preparing = undefined;
      },
    );
    this.#preparing = held;
    return held;
  }

  #writeLater(at: number, views: readonly Buffer[], bytes: number, done: (error?: Error) => void): void {
    this.#waiting += bytes;
    this.#hold(() => {
      this.#waiting -= bytes;
      this.#hand(at, views, bytes, done);
    });
  }

  #hand(at: number, views: readonly Buffer[], bytes: number, done: (error?: Error) => void): void {
    if (this.#failure !== undefined) {
      done(this.#failure);
      return;
    }
    this.#upload.file.write(at, views, (error) => {
      if (error) {
        // a take-over closes the file under us: say that, not "closed"
        this.#failure ??= asLongshoreError(error, "the storage failed");
        done(this.#failure);
        return;
      }
      this.#options.log.moved(bytes);
      const held = this.#upload.held();
      if (held === undefined) done();
      else this.#acknowledgeAfter(held, bytes, done);
    });
  }

  #acknowledgeAfter(held: Promise<void>, bytes: number, done: (error?: Error) => void): void {
    this.#waiting += bytes;
    held.then(
      () => {
        this.#waiting -= bytes;
        done(this.#failure);
      },
      (error) => {
        this.#waiting -= bytes;
        this.#failure ??= asLongshoreError(error, "this node is cut off");
        done(this.#failure);
      },
    );
  }

  /** Runs behind what is being prepared, and holds writes back until it is done. */
  async #after(act: () => Promise<void>): Promise<void> {
    this.#check();
    await this.#hold(() => {
      this.#check();
      return act();
    });
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #close(): Promise<void> {
    const { log, closed } = this.#options;
    try {
      await this.#preparing;
      this.#check();
      if (this.#base !== undefined) {
        if (!this.#wrote && !this.#changedSize) {
          await this.#applyOnly();
          return;
        }
        await this.#fill();
      }
      await this.#options.authorizeCommit();
      const { size } = await this.#upload.commit({ mode: this.#options.mode ?? 0o644, ...this.#staged });
      log.ended("complete", { size });
    } catch (error) {
      const known = asLongshoreError(error, "the upload failed");
      await this.#keep();
      const limited = isCode(known, "quota-exceeded") ? this.#options.room?.known() : undefined;
      if (limited !== undefined) this.#options.overQuota?.(limited.limit.target);
      log.ended(isCode(known, "outcome-unknown") ? "unknown" : "failed", { error: known.message, code: known.code });
      throw known;
    } finally {
      closed();
    }
  }

  /** Opened on a committed file, nothing written: attributes at most, and no upload. */
  async #applyOnly(): Promise<void> {
    await this.#dropBase();
    await this.#upload.discard();
    if (Object.keys(this.#staged).length > 0) await this.#options.applyAttributes(this.#staged);
    this.#options.log.ended("complete", { size: 0 });
  }

  async #abandon(reason: string): Promise<void> {
    await this.#keep();
    const failed = this.#failure && { error: this.#failure.message, code: this.#failure.code };
    this.#options.log.ended("partial", { reason, ...failed });
    this.#options.closed();
  }

  /** Nothing was committed: what arrived is kept for a resume. */
  async #keep(): Promise<void> {
    try {
      await this.#preparing;
      await this.#dropBase();
    } catch {
      // its descriptor is all there was to it
    }
    await this.#upload.release();
  }
}

function noSuchOffset(): LongshoreError {
  return new LongshoreError("invalid-argument", "no file is that large");
}
