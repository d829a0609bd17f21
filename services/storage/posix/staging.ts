import fs from "node:fs";
import { asLongshoreError, LongshoreError } from "#lib/errors.js";
import type { ReadFile, StagedFile, StageOptions, StatChange } from "../contract.js";
import { after, type Calls, copyRange, directCalls, fdatasync, fsync, readFully, writeFully } from "./calls.js";
import { Gaps } from "./gaps.js";
import type { Layout } from "./layout.js";

/** Up to here a write goes to a local disk without a hop to the thread pool. */
const SMALL_WRITE = 64 << 10;
/** One system call writes at most so much: larger ones gain nothing (speed.md). */
const MOST_AT_ONCE = 1 << 20;
/** Of the kernel's 1,024 (IOV_MAX). */
const MOST_VIEWS = 512;
/** `durability: process`: a sync now and then, so that the one at the close is short. */
const SYNC_EVERY = 32 << 20;
/** `durability: power`: replies wait, so sync at least so often. */
const POWER_SYNC_EVERY = 4 << 20;
const COPY_STEP = 1 << 20;
/** A client that scatters its writes more than this is not uploading a file; each range costs memory. */
const MOST_GAPS = 1_024;

/** One for all: each upload ends with it, and an error's stack costs more than the close does. */
const CLOSED = new LongshoreError("closed", "the file is closed");

/** Contiguous writes that go to the file by one system call. */
interface Write {
  readonly offset: number;
  length: number;
  /** The callers' memory, theirs again when `done` is called. */
  readonly views: Buffer[];
  readonly done: ((error?: Error) => void)[];
}
interface Step {
  readonly run: () => Promise<void>;
  readonly done: (error?: Error) => void;
}

function isWrite(task: Write | Step): task is Write {
  return "views" in task;
}

/**
 * One upload's bytes: one writer, one inode. `data` only ever grows contiguously, so its size is what a resume may count on
 * without asking anybody; bytes past a gap wait in `ooo` at their own offsets. Tasks run in order, one at a time; contiguous
 * writes that wait go to the file together.
 */
export class PosixStagedFile implements StagedFile {
  id: string;
  prefix: number;
  end: number;
  pendingBytes = 0;
  failure: LongshoreError | undefined;

  readonly #calls: Calls;
  readonly #layout: Layout;
  readonly #power: boolean;
  readonly #direct: boolean;
  readonly #fd: number;
  readonly #gaps = new Gaps();
  #oooFd: number | undefined;
  #queue: (Write | Step)[] = [];
  #head = 0;
  #busy = false;
  #scheduled = false;
  #closed = false;
  #releasing: Promise<void> | undefined;
  #syncedTo: number;
  /**
   * So many bytes from the start were covered by a sync of this descriptor and not written since: all that counts after a sync
   * that failed, since what came before this writer may be lost with the rest.
   */
  #durable = 0;
  /** How often bytes that were there already were written again. */
  #overwrites = 0;
  #syncing: Promise<void> | undefined;
  #markFd: number | undefined;
  #unsynced: ((error?: Error) => void)[] = [];
  #unsyncedBytes = 0;

  constructor(layout: Layout, calls: Calls, id: string, fd: number, prefix: number, options: StageOptions) {
    this.#direct = calls === directCalls;
    this.#layout = layout;
    this.#calls = calls;
    this.id = id;
    this.#fd = fd;
    this.prefix = prefix;
    this.end = prefix;
    this.#syncedTo = prefix;
    this.#power = options.power;
  }

  write(offset: number, views: readonly Buffer[], done: (error?: Error) => void): void {
    if (this.failure) {
      done(this.failure);
      return;
    }
    let length = 0;
    for (const view of views) length += view.length;
    this.pendingBytes += length;
    const last = this.#head < this.#queue.length ? this.#queue[this.#queue.length - 1] : undefined;
    if (
      last !== undefined &&
      isWrite(last) &&
      offset === last.offset + last.length &&
      last.length + length <= MOST_AT_ONCE &&
      last.views.length + views.length <= MOST_VIEWS
    ) {
      last.length += length;
      last.views.push(...views);
      last.done.push(done);
      return;
    }
    this.#push({ offset, length, views: [...views], done: [done] });
  }

  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void {
    let bytes = 0;
    this.#step(async () => {
      for (const view of views) {
        const read = await readFully(this.#fd, view, offset + bytes);
        bytes += read;
        if (read < view.length) break;
      }
    }).then(
      () => done(undefined, bytes),
      (error) => done(error as Error, 0),
    );
  }

  truncate(size: number): Promise<void> {
    return this.#step(async () => {
      if (size < this.prefix) {
        await this.#calls.ftruncate(this.#fd, size);
        this.prefix = size;
        this.#syncedTo = Math.min(this.#syncedTo, size);
        this.#durable = Math.min(this.#durable, size);
      }
      this.#gaps.cut(size);
      if (this.#oooFd !== undefined) await this.#calls.ftruncate(this.#oooFd, Math.max(size, this.prefix));
      this.end = size;
    });
  }

  fillFrom(source: ReadFile, upTo: number): Promise<void> {
    return this.#step(async () => {
      const buffer = Buffer.allocUnsafe(COPY_STEP);
      while (this.prefix < upTo) {
        const view = buffer.subarray(0, Math.min(COPY_STEP, upTo - this.prefix));
        const read = await new Promise<number>((resolve, reject) => {
          source.read(this.prefix, [view], (error, bytes) => (error ? reject(error) : resolve(bytes)));
        });
        if (read === 0) break;
        await writeFully(this.#fd, [view.subarray(0, read)], this.prefix);
        this.prefix += read;
      }
      this.end = Math.max(this.end, this.prefix);
    });
  }

  sync(): Promise<void> {
    return this.#step(() => this.#synced(fdatasync(this.#fd), this.prefix));
  }

  async seal(change: StatChange): Promise<{ size: number; inode: number }> {
    let sealed = { size: 0, inode: 0 };
    await this.#step(async () => {
      for (const [from, to] of this.#gaps.take()) await copyRange(this.#ooo(), this.#fd, from, to);
      const size = change.size ?? this.end;
      if (size !== this.prefix) await this.#calls.ftruncate(this.#fd, size);
      if (change.mode !== undefined) await this.#calls.fchmod(this.#fd, change.mode);
      if (change.atime !== undefined && change.mtime !== undefined) {
        await this.#calls.futimes(this.#fd, change.atime, change.mtime);
      }
      await this.#synced(fsync(this.#fd), this.prefix);
      this.#answer();
      const stat = await this.#calls.fstat(this.#fd);
      sealed = { size: stat.size, inode: stat.ino };
    });
    // most are committed in the next moment: whoever can't commit says that it is released
    await this.#close(false);
    return sealed;
  }

  release(): Promise<void> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  renamed(id: string): void {
    this.id = id;
  }

  /** Everything from now on fails with `error`: the upload was taken over, or its node lost its place. */
  fail(error: LongshoreError): void {
    this.failure ??= error;
  }

  async #release(): Promise<void> {
    if (this.#closed) return;
    // steps fail after a failure, but what is under way must end before the file may be handed on
    await new Promise<void>((resolve) => this.#push({ run: async () => {}, done: () => resolve() }));
    if (this.#closed) return;
    try {
      const stat = await this.#calls.fstat(this.#fd);
      if (stat.size > this.prefix) await this.#calls.ftruncate(this.#fd, this.prefix);
    } catch {
      // what lies behind the prefix was sent by the client, too: a resume may count it
    }
    await this.#close(true);
  }

  /** `released`: says in the staging directory that no writer is left. */
  async #close(released: boolean): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.failure ??= CLOSED;
    // a descriptor that is closed under a sync might be another file's by then
    await this.#syncing;
    for (const fd of [this.#fd, this.#oooFd, this.#markFd]) {
      if (fd === undefined) continue;
      try {
        await this.#calls.close(fd);
      } catch {
        // nothing is lost by a close that fails after a sync, and before one the bytes are a partial's
      }
    }
    if (this.#oooFd !== undefined) {
      try {
        await this.#calls.unlink(`${this.#layout.op(this.id)}/ooo`);
      } catch {
        // swept with its directory
      }
    }
    if (!released) return;
    try {
      await markReleased(this.#layout, this.#calls, this.id);
    } catch {
      // without the marker a taker copies first: slower, as safe
    }
  }

  #step(run: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#push({ run, done: (error) => (error ? reject(error) : resolve()) });
    });
  }

  #push(task: Write | Step): void {
    this.#queue.push(task);
    if (this.#busy || this.#scheduled) return;
    // one turn later, so that all writes of one network packet go into one system call
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      void this.#pump();
    });
  }

  async #pump(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#head < this.#queue.length) {
      const task = this.#queue[this.#head] as Write | Step;
      this.#head += 1;
      if (isWrite(task)) await this.#runWrite(task);
      else await this.#runStep(task);
      if (this.#head > 64) {
        this.#queue = this.#queue.slice(this.#head);
        this.#head = 0;
      }
    }
    this.#queue = [];
    this.#head = 0;
    this.#busy = false;
    this.#maybeSync(true);
  }

  async #runStep(task: Step): Promise<void> {
    if (this.failure) {
      task.done(this.failure);
      return;
    }
    try {
      await task.run();
      task.done();
    } catch (error) {
      this.failure ??= asLongshoreError(error, "the storage failed");
      task.done(this.failure);
    }
  }

  async #runWrite(write: Write): Promise<void> {
    const { offset, length, views, done } = write;
    const end = offset + length;
    try {
      if (this.failure) throw this.failure;
      if (length === 0) {
        // nothing to write, and no gap to make
      } else if (offset <= this.prefix) {
        if (offset < this.prefix) {
          this.#overwrites += 1;
          this.#durable = Math.min(this.#durable, offset);
        }
        await this.#writeOut(views, offset, length);
        this.prefix = Math.max(this.prefix, end);
        await this.#joinGaps();
      } else {
        await writeFully(this.#ooo(), views, offset);
        this.#gaps.add(offset, end);
        if (this.#gaps.count > MOST_GAPS) throw new LongshoreError("limit", "too many gaps between the writes");
      }
      if (length > 0) this.end = Math.max(this.end, end);
    } catch (error) {
      this.failure ??= asLongshoreError(error, "the storage failed");
    }
    this.pendingBytes -= length;
    if (this.failure) {
      for (const each of done) each(this.failure);
      return;
    }
    if (this.#power) {
      this.#unsynced.push(...done);
      this.#unsyncedBytes += length;
    } else {
      for (const each of done) each();
    }
    this.#maybeSync(false);
  }

  /** Small ones without a hop to the thread pool, where the storage is a disk of this host. */
  async #writeOut(views: readonly Buffer[], offset: number, length: number): Promise<void> {
    if (this.#direct && length <= SMALL_WRITE) {
      const written = fs.writevSync(this.#fd, views, offset);
      if (written === length) return;
      await writeFully(this.#fd, after(views, written), offset + written);
      return;
    }
    await writeFully(this.#fd, views, offset);
  }

  /** Moves what now is contiguous from `ooo` to `data`. */
  async #joinGaps(): Promise<void> {
    for (;;) {
      const to = this.#gaps.takeUpTo(this.prefix);
      if (to === undefined) return;
      if (to <= this.prefix) continue;
      await copyRange(this.#ooo(), this.#fd, this.prefix, to);
      this.prefix = to;
    }
  }

  #ooo(): number {
    this.#oooFd ??= fs.openSync(
      `${this.#layout.op(this.id)}/ooo`,
      fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_TRUNC,
      0o600,
    );
    return this.#oooFd;
  }

  /** Starts a sync beside the writes when one is due; at most one at a time. */
  #maybeSync(idle: boolean): void {
    if (this.#syncing || this.#closed || this.failure) {
      if (this.failure) this.#answer(this.failure);
      return;
    }
    const due = this.#power
      ? this.#unsynced.length > 0 && (idle || this.#unsyncedBytes >= POWER_SYNC_EVERY)
      : this.prefix - this.#syncedTo >= SYNC_EVERY;
    if (due) this.#syncing = this.#syncBeside();
  }

  async #syncBeside(): Promise<void> {
    const upTo = this.prefix;
    const waiting = this.#unsynced;
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    try {
      await this.#synced(fdatasync(this.#fd), upTo);
      this.#syncedTo = Math.max(this.#syncedTo, upTo);
      await this.#mark(upTo);
      for (const done of waiting) done();
    } catch (error) {
      this.failure ??= asLongshoreError(error, "the storage failed to sync");
      for (const done of waiting) done(this.failure);
    }
    this.#syncing = undefined;
    this.#maybeSync(!this.#busy);
  }

  /**
   * Settles as `sync` does. After a failed one the kernel may have dropped the dirty pages and holds them for clean: any later
   * sync, by this descriptor or by whoever resumes, would lie about them (commit.md, step 1). So they are given up.
   */
  async #synced(sync: Promise<void>, upTo: number): Promise<void> {
    const before = this.#overwrites;
    try {
      await sync;
    } catch (error) {
      this.prefix = Math.min(this.prefix, this.#durable);
      throw asLongshoreError(error, "the storage failed to sync");
    }
    // Written again meanwhile: who knows which of the two it covered.
    if (this.#overwrites === before) this.#durable = Math.max(this.#durable, Math.min(upTo, this.prefix));
  }

  /** The watermark: what a taker on another host may count on. Fixed width, so that it is replaced by one write. */
  async #mark(synced: number): Promise<void> {
    this.#markFd ??= await this.#calls.open(
      `${this.#layout.op(this.id)}/synced`,
      fs.constants.O_WRONLY | fs.constants.O_CREAT,
      0o600,
    );
    await writeFully(this.#markFd, [Buffer.from(`${String(synced).padStart(19, "0")}\n`)], 0);
    if (this.#power) await fdatasync(this.#markFd);
  }

  #answer(error?: LongshoreError): void {
    const waiting = this.#unsynced;
    this.#unsynced = [];
    this.#unsyncedBytes = 0;
    for (const done of waiting) done(error);
  }
}

/** Says in the staging directory that no writer is left. */
export async function markReleased(layout: Layout, calls: Calls, directory: string): Promise<void> {
  const marker = `${layout.op(directory)}/released`;
  await calls.close(await calls.open(marker, fs.constants.O_CREAT | fs.constants.O_WRONLY, 0o600));
}
