import type { DirectoryEntry, DirectoryHandle, FileHandle } from "#sessions/contract.js";

/** A READ. */
export interface ReadRequest {
  readonly id: number;
  readonly offset: number;
  readonly length: number;
}

/** A READ that waits for its turn. */
export interface WaitingRead extends ReadRequest {
  /** Its place among the file's READs: they are answered in the order in which they came. */
  readonly turn: number;
}

/** A read whose answer waits for that of an earlier one. */
export interface EarlyRead {
  /** Requests that it answers. */
  readonly requests: number;
  readonly answer: () => void;
}

/** An open file as the client's handle names it. */
export class OpenFile {
  readonly kind = "file";
  readonly path: string;
  readonly file: FileHandle;
  /** READs not handed over yet, in order of arrival. */
  readonly reads: WaitingRead[] = [];
  /** READs handed over whose `done` wasn't called yet. */
  readsUnderWay = 0;
  /** READs that came, and READs that were answered: the next one to be answered has this turn. */
  readsTaken = 0;
  readsAnswered = 0;
  /** Reads that are done before one that came earlier, by the turn of their first request. */
  readonly early = new Map<number, EarlyRead>();
  /** A read has filled its whole request, so that more will follow: worth a slab (speed.md, 3). */
  bulk = false;
  /** Called once when no READ is left; set by a CLOSE that came behind some. */
  onReadsDone: (() => void) | undefined;

  constructor(path: string, file: FileHandle) {
    this.path = path;
    this.file = file;
  }

  get readsLeft(): boolean {
    return this.reads.length > 0 || this.readsUnderWay > 0;
  }
}

/** An open directory. */
export class OpenDirectory {
  readonly kind = "directory";
  readonly directory: DirectoryHandle;
  /** Ids of READDIRs that wait: one at a time is served, so that no entry is told twice. */
  readonly waiting: number[] = [];
  busy = false;
  /** Entries that didn't fit the last reply. */
  leftover: readonly DirectoryEntry[] = [];
  /** "." and "..", until they are told. */
  dots: (() => Promise<readonly DirectoryEntry[]>) | undefined;

  constructor(directory: DirectoryHandle, dots?: () => Promise<readonly DirectoryEntry[]>) {
    this.directory = directory;
    this.dots = dots;
  }
}

export type OpenHandle = OpenFile | OpenDirectory;

/**
 * What the client's handles stand for. A place is taken before the open starts and given back after the close has ended,
 * so that the cap holds for what is really open, whatever is pipelined.
 */
export class HandleTable {
  readonly #limit: number;
  readonly #open = new Map<number, OpenHandle>();
  #taken = 0;
  /** Never given out twice until it wraps, so that a stale handle names nothing instead of another file. 0 is no handle. */
  #last = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Handles open, being opened and being closed. */
  get count(): number {
    return this.#taken;
  }

  /** Takes a place; false when none is left. */
  take(): boolean {
    if (this.#taken >= this.#limit) return false;
    this.#taken += 1;
    return true;
  }

  /** Gives a place back: the open failed, or the close has ended. */
  release(): void {
    this.#taken -= 1;
  }

  /** Names what was opened in a place taken before. */
  add(handle: OpenHandle): number {
    do this.#last = this.#last >= 0xffff_ffff ? 1 : this.#last + 1;
    while (this.#open.has(this.#last));
    this.#open.set(this.#last, handle);
    return this.#last;
  }

  get(id: number): OpenHandle | undefined {
    return this.#open.get(id);
  }

  /** Forgets the name; the place stays taken until `release`. */
  remove(id: number): OpenHandle | undefined {
    const handle = this.#open.get(id);
    this.#open.delete(id);
    return handle;
  }

  /** Forgets all, as the connection's end does. */
  clear(): OpenHandle[] {
    const all = [...this.#open.values()];
    this.#open.clear();
    return all;
  }
}
