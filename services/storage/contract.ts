import type { LongshoreError } from "#lib/errors.js";

/**
 * A store: the shared storage that nodes put partners' files on. Paths are physical: relative to the store's root,
 * `/`-separated, links resolved, never starting or ending with `/` ("" is the root). `resolve` makes them.
 *
 * Beside partners' files it keeps staged operations (`ops/<id>`) and pointers to partials, as commit.md says. Every step of
 * an effect may be taken by several helpers at once, or by one that slept for an hour: each is one atomic rename.
 */

export interface FileStat {
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Milliseconds since 1970. */
  readonly atimeMs: number;
  readonly mtimeMs: number;
  readonly links: number;
  readonly device: number;
  readonly inode: number;
}

export interface StatChange {
  readonly size?: number;
  readonly mode?: number;
  /** Seconds since 1970. */
  readonly atime?: number;
  readonly mtime?: number;
}

/** Asked for a capability, never for a type. */
export interface StoreCapabilities {
  /** No other host writes to it: short calls are made directly, and a dead process's partial needs no copy. */
  readonly local: boolean;
  readonly hardLinks: boolean;
}

/** A committed file, open for reading: it stays as it was at open, whatever is committed over it. */
export interface ReadFile {
  readonly size: number;
  stat(): Promise<FileStat>;
  /** Reads into `views` from `offset`; `done` may be called before it returns. */
  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void;
  close(): Promise<void>;
}

/** Where an upload's bytes go before they are committed (staging.ts). */
export interface StagedFile {
  readonly id: string;
  /** Contiguous bytes from 0 that are in the file on the storage. */
  readonly prefix: number;
  /** The highest end written, gaps or not. */
  readonly end: number;
  readonly pendingBytes: number;
  /** The first failure of a write or sync; from then on everything fails with it. */
  readonly failure: LongshoreError | undefined;
  write(offset: number, views: readonly Buffer[], done: (error?: Error) => void): void;
  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void;
  /** Cuts or extends (with a hole) to `size`, after the writes before it. */
  truncate(size: number): Promise<void>;
  /** Appends the bytes `[prefix, upTo)` of `source`, after the writes before it (copy-on-write). */
  fillFrom(source: ReadFile, upTo: number): Promise<void>;
  /** Everything written so far is on the disk. */
  sync(): Promise<void>;
  /** Drains, joins out-of-order bytes (gaps become holes), applies `change`, syncs and closes: no writer is left. */
  seal(change: StatChange): Promise<{ size: number; inode: number }>;
  /** Drains, cuts to the contiguous prefix and closes, so that a resume needs no copy. Idempotent; never throws. */
  release(): Promise<void>;
  /** Follows the rename of its directory by a take-over of our own (a new incarnation of this process). */
  renamed(id: string): void;
}

/** A partial as its uploader sees it. */
export interface Partial {
  /** The upload that it belongs to. */
  readonly id: string;
  /** Where it is staged: the id, or `<id>.refused`. */
  readonly directory: string;
  /** Contiguous bytes in the file now. */
  readonly prefix: number;
  readonly mtimeMs: number;
}

/** What became of one step of an effect. */
export type Placement =
  /** The effect is in place (by us or by another), and its directories are synced. */
  | { readonly outcome: "placed" }
  /** It can't ever be: `error` says why. What was staged is back in `<id>.refused` or at its old name. */
  | { readonly outcome: "refused"; readonly error: LongshoreError }
  /** The staging directory is gone: another finished it, or took it over. The record tells. */
  | { readonly outcome: "gone" };

/** Effects on the shared storage; `id` names the staging directory `ops/<id>`, which `stage` makes. */
export type Effect =
  | { readonly kind: "upload"; readonly path: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly path: string; readonly replace: boolean }
  | { readonly kind: "mkdir"; readonly path: string }
  | { readonly kind: "rmdir"; readonly path: string }
  | { readonly kind: "link"; readonly from: string; readonly path: string };

export interface Store {
  /** Its name in store keys. */
  readonly name: string;
  readonly capabilities: StoreCapabilities;

  /** Resolves a virtual path below a home; fails with `not-found` where its parent isn't there or a link leads out. */
  resolve(home: string, parts: readonly string[], follow: boolean): Promise<string>;
  /** The virtual parts of a physical path below a home. */
  within(home: string, physical: string): Promise<readonly string[] | undefined>;
  ensureHome(home: string): Promise<void>;

  /** lstat. Throws `not-found`. */
  stat(path: string): Promise<FileStat>;
  /** lstat; undefined where nothing is there. */
  find(path: string): Promise<FileStat | undefined>;
  list(path: string): Promise<readonly string[]>;
  readLink(path: string): Promise<string>;
  openRead(path: string): Promise<ReadFile>;
  setAttributes(path: string, change: StatChange): Promise<void>;
  statVolume(path: string): Promise<import("node:fs").StatsFs>;
  /** Walks the tree below a directory, gently; one that isn't there is empty. Rejects when `signal` aborts. */
  measure(path: string, signal: AbortSignal): Promise<Measured>;

  /** Makes `ops/<id>/data`. */
  stageUpload(id: string, options: StageOptions): Promise<StagedFile>;
  /** Makes `ops/<id>` for an effect other than an upload (with what `mkdir` and `link` place in it). */
  stageEffect(id: string, effect: Effect, mode?: number): Promise<void>;
  /** Puts an effect in place: idempotent, by anyone, at any time (commit.md, steps 4, 6 and 7). */
  place(id: string, effect: Effect): Promise<Placement>;
  /** Removes what is left of `ops/<id>` after its record is gone, and its pointer if it still is its own. Never throws. */
  cleanUp(id: string, pointer?: PartialName): Promise<void>;

  /** The account's own partial of that name, if one is there and isn't empty of meaning (a dangling pointer is none). */
  findPartial(name: PartialName): Promise<Partial | undefined>;
  /** Names below a directory that the account has partials of. */
  listPartials(account: string, directory: string): Promise<readonly string[]>;
  /** Ends the ids of all uploads to one name (`<incarnation>-<number>-<tag>`): by it a partial is found again. */
  tagOf(name: PartialName): string;
  /** Points the name at an upload, whatever it pointed at. */
  pointPartial(name: PartialName, id: string): Promise<void>;
  /** After a take-over: points the name at `to` if it still points at `from`, or at nothing; whether it does. */
  repointPartial(name: PartialName, from: string, to: string): Promise<boolean>;
  /** Takes the name off an upload (only if it still points at it). */
  unpointPartial(name: PartialName, id: string): Promise<void>;
  /** True once its writer let go of it cleanly: no write can still be under way. */
  isReleased(directory: string): Promise<boolean>;
  /** Says so of an upload that was sealed and then couldn't be committed. */
  markReleased(directory: string): Promise<void>;
  /** Bytes up to which the upload was synced (its watermark). */
  syncedBytes(directory: string): Promise<number>;
  /**
   * Says in the staging directory, before it is taken, that an old writer may still write into its file: whoever gets it
   * next, if the taker dies half-way, must copy too. False where the directory is gone.
   */
  taint(directory: string): Promise<boolean>;
  isTainted(directory: string): Promise<boolean>;
  /** Whether the upload's bytes are still staged (neither placed nor taken over). */
  isStaged(id: string): Promise<boolean>;
  /** Renames the staging directory to that of upload `to` (one taker wins); false where it is gone. */
  takeDirectory(directory: string, to: string): Promise<boolean>;
  /**
   * Opens a taken partial for going on. `trusted`: false where its old writer may still write (copied to a new inode).
   * `synced`: only what was synced counts (the old writer's host died).
   */
  resumeUpload(id: string, options: StageOptions & { trusted: boolean; onlySynced: boolean }): Promise<StagedFile>;
  /** Throws an upload's staging away. */
  discardUpload(id: string): Promise<void>;

  /** Notes of closed uploads whose commit is still owed. */
  putClosed(id: string, note: string): Promise<void>;
  listClosed(): Promise<readonly { id: string; note: string }[]>;
  removeClosed(id: string): Promise<void>;

  /**
   * Staging directories: name, age by the storage's own clock, whether an upload's bytes are in it, and whether a name points
   * at it. Takes away pointers to nothing.
   */
  listStaged(): Promise<readonly StagedEntry[]>;
  /** Writes, syncs and removes a probe; checks the sentinel. Throws what is wrong with the storage. */
  probe(): Promise<Room>;
  /**
   * This node's half of a trial across nodes (`longshore doctor`): on a file of that name in the store's private part.
   * `note` is what `create` writes into it. Throws where the storage fails.
   */
  tryStorage(name: string, act: TrialAct, note: string): Promise<TrialAnswer>;
}

/** `create`: exclusively. `look`: what is under the name, and under its other one. `rename`: to that. `remove`: both. */
export const TRIAL_ACTS = ["create", "look", "rename", "remove"] as const;
export type TrialAct = (typeof TRIAL_ACTS)[number];

export interface TrialAnswer {
  /** `exists`: somebody has created it. `missing`: nothing is there to rename. */
  readonly outcome: "done" | "exists" | "missing";
  /** What `look` found under the name, and under its other one. */
  readonly note?: string;
  readonly movedNote?: string;
}

/** Of all regular files below a directory, each name counted. */
export interface Measured {
  readonly bytes: number;
  readonly files: number;
}

/** What is left of the volume. */
export interface Room {
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** So little that uploads are refused. */
  readonly full: boolean;
}

export interface StagedEntry {
  readonly name: string;
  readonly ageMs: number;
  readonly hasData: boolean;
  readonly pointed: boolean;
}

export interface StageOptions {
  /** Replies to writes wait for a sync (site setting `durability: power`). */
  readonly power: boolean;
}

export interface PartialName {
  readonly account: string;
  /** The physical path of the target. */
  readonly path: string;
}
