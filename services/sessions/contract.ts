/**
 * What a protocol adapter sees of files. Adapters only translate: ordering, permissions, partials, commits, metrics and
 * records hang here and nowhere else.
 *
 * Paths are virtual: absolute, `/`-separated, as the client named them (virtual-path.ts normalises; `..` stops at `/`).
 * All failures are LongshoreError. Calls may be made without awaiting the one before: the session itself keeps the
 * order that a client may count on (an operation runs after each earlier one on the same names, CLOSE and REMOVE included).
 */

export type FileType = "file" | "directory" | "symlink" | "other";

export interface Attributes {
  readonly type: FileType;
  /** Bytes. An own partial reports its contiguous prefix less one (clients.md, finding 2). */
  readonly size: number;
  /** Permission bits only (07777). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, whole. */
  readonly atime: number;
  readonly mtime: number;
  readonly links: number;
}

/** Absent fields stay as they are. Owner and group are never changed (ignored, not refused: rclone). */
export interface AttributeChange {
  readonly size?: number;
  readonly mode?: number;
  /** Seconds since 1970; both or neither. */
  readonly atime?: number;
  readonly mtime?: number;
}

/** How a client opens a file; one SFTP pflag each. */
export interface OpenIntent {
  readonly read: boolean;
  readonly write: boolean;
  readonly append: boolean;
  readonly create: boolean;
  readonly truncate: boolean;
  readonly exclusive: boolean;
  /** Attributes wished for a new file. */
  readonly attributes?: AttributeChange;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly attributes: Attributes;
}

export interface DirectoryHandle {
  /** The next entries, at most `most`; an empty array at the end. Never "." or "..". */
  next(most: number): Promise<readonly DirectoryEntry[]>;
  close(): Promise<void>;
}

export interface FileHandle {
  /** The transfer's id, in logs and audit. */
  readonly id: string;
  readonly readable: boolean;
  readonly writable: boolean;
  /** FSTAT. On a write handle: the reported size before the first write, then the highest end written. */
  attributes(): Promise<Attributes>;
  /** FSETSTAT: staged on a write handle and applied at commit; truncation counts at once for later reads and writes. */
  setAttributes(change: AttributeChange): Promise<void>;
  /**
   * Fills `views` in order from `offset`. `done` gets the number of bytes read (0 at the end of the file), and may be
   * called before `read` returns where the bytes were at hand. The views belong to the handle until then.
   */
  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void;
  /**
   * Writes `views` at `offset`; one past 2^53 - 1 is refused, as any that no file could hold. Many calls may be under way; the transfer merges contiguous ones into one system call.
   * `done` without an error means that the bytes are in the partial on the shared storage: the client may be told. The
   * views belong to the handle until `done`. After a failed write all later ones fail, and `close` fails too.
   */
  write(offset: number, views: readonly Buffer[], done: (error?: Error) => void): void;
  /** Bytes given to `write` whose `done` wasn't called yet: what backpressure goes by. */
  readonly pendingBytes: number;
  /** fsync@openssh.com: what was written so far is on the disk. Not a commit. */
  sync(): Promise<void>;
  /**
   * The one close. A reader: releases. A writer: drains, makes durable, commits, places; resolved means that the upload
   * is acknowledged (P1). Goes on though the connection is gone. Rejected: the partial is kept.
   */
  close(): Promise<void>;
  /** The connection ended without a CLOSE for this handle: never a commit; the partial is kept. Idempotent. */
  abandon(): Promise<void>;
}

export interface VolumeStatistics {
  readonly blockSize: number;
  readonly blocks: number;
  readonly freeBlocks: number;
  readonly availableBlocks: number;
  readonly files: number;
  readonly freeFiles: number;
  readonly fileSystemId: number;
  readonly readOnly: boolean;
  readonly maxNameLength: number;
}

export interface Session {
  readonly id: string;
  readonly account: string;
  /** The client's own address, from the PROXY header (P9). */
  readonly clientAddress: string;
  /** STAT (follows links inside the home) or LSTAT. */
  stat(path: string, follow: boolean): Promise<Attributes>;
  openDirectory(path: string): Promise<DirectoryHandle>;
  open(path: string, intent: OpenIntent): Promise<FileHandle>;
  remove(path: string): Promise<void>;
  /** `replace`: posix-rename (atomic, over an existing file); otherwise an existing target is refused. */
  rename(from: string, to: string, replace: boolean): Promise<void>;
  /** A hard link; refused with reason where the store can't. */
  link(from: string, to: string): Promise<void>;
  makeDirectory(path: string, attributes: AttributeChange): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  setAttributes(path: string, change: AttributeChange, follow: boolean): Promise<void>;
  /** READLINK: the target as a virtual path; a link that leads out of the home doesn't exist. */
  readLink(path: string): Promise<string>;
  /** REALPATH, expand-path: normalised, absolute; needs no file there. `~` and `~/x` are the home (`/`). */
  realPath(path: string): string;
  statVolume(path: string): Promise<VolumeStatistics>;
  /** copy-data: `length` 0 means to the end of the source. Resolves with the bytes copied. */
  copy(from: FileHandle, fromOffset: number, length: number, to: FileHandle, toOffset: number): Promise<number>;
  /** The connection is gone: abandons every open handle, lets closes under way finish. Idempotent. */
  end(reason: string): Promise<void>;
}

/** What is opened for an authenticated connection; the one place where sessions are made. */
export interface Sessions {
  open(options: { account: string; clientAddress: string; protocol: "sftp" }): Session;
  /** Sessions open now. */
  readonly count: number;
}
