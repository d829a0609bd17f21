import fs from "node:fs";
import { promisify } from "node:util";
import { LongshoreError, systemCode } from "#lib/errors.js";

/** Either at hand or on its way; `await` takes both. */
export type Maybe<T> = T | Promise<T>;

/**
 * The short system calls on names. On a disk of this host they are made directly: each is some ten microseconds, and the
 * thread pool (four threads, at times all inside fsync) would make a stat wait for a stranger's flush. On a network file
 * system any call may stall for seconds, so there they go through the pool.
 */
export interface Calls {
  lstat(path: string): Maybe<fs.Stats>;
  /** lstat; undefined where nothing is there. An error's stack costs several times what the call does. */
  find(path: string): Maybe<fs.Stats | undefined>;
  /** readlink; undefined where no link is there. */
  findLink(path: string): Maybe<string | undefined>;
  stat(path: string): Maybe<fs.Stats>;
  fstat(fd: number): Maybe<fs.Stats>;
  realpath(path: string): Maybe<string>;
  readlink(path: string): Maybe<string>;
  readdir(path: string): Maybe<string[]>;
  open(path: string, flags: number, mode?: number): Maybe<number>;
  close(fd: number): Maybe<void>;
  mkdir(path: string, mode: number): Maybe<void>;
  rmdir(path: string): Maybe<void>;
  rename(from: string, to: string): Maybe<void>;
  unlink(path: string): Maybe<void>;
  symlink(target: string, path: string): Maybe<void>;
  link(from: string, to: string): Maybe<void>;
  chmod(path: string, mode: number): Maybe<void>;
  fchmod(fd: number, mode: number): Maybe<void>;
  utimes(path: string, atime: number, mtime: number): Maybe<void>;
  futimes(fd: number, atime: number, mtime: number): Maybe<void>;
  ftruncate(fd: number, size: number): Maybe<void>;
}

export const directCalls: Calls = {
  lstat: (path) => fs.lstatSync(path),
  find: findDirectly,
  findLink: (path) => {
    if (findDirectly(path)?.isSymbolicLink() !== true) return undefined;
    try {
      return fs.readlinkSync(path);
    } catch (error) {
      return absentLink(error);
    }
  },
  stat: (path) => fs.statSync(path),
  fstat: (fd) => fs.fstatSync(fd),
  realpath: (path) => fs.realpathSync.native(path),
  readlink: (path) => fs.readlinkSync(path),
  readdir: (path) => fs.readdirSync(path),
  open: (path, flags, mode) => fs.openSync(path, flags, mode),
  close: (fd) => fs.closeSync(fd),
  mkdir: (path, mode) => void fs.mkdirSync(path, { mode }),
  rmdir: (path) => fs.rmdirSync(path),
  rename: (from, to) => fs.renameSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  symlink: (target, path) => fs.symlinkSync(target, path),
  link: (from, to) => fs.linkSync(from, to),
  chmod: (path, mode) => fs.chmodSync(path, mode),
  fchmod: (fd, mode) => fs.fchmodSync(fd, mode),
  utimes: (path, atime, mtime) => fs.utimesSync(path, atime, mtime),
  futimes: (fd, atime, mtime) => fs.futimesSync(fd, atime, mtime),
  ftruncate: (fd, size) => fs.ftruncateSync(fd, size),
};

function findDirectly(path: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    return absent(error);
  }
}

function absent(error: unknown): undefined {
  const code = systemCode(error);
  if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
}

/** EINVAL: it is something else than a link. */
function absentLink(error: unknown): undefined {
  if (systemCode(error) !== "EINVAL") absent(error);
}

const mkdir = promisify(fs.mkdir);
const lstat = promisify(fs.lstat);
const realpath = promisify(fs.realpath.native);

export const pooledCalls: Calls = {
  lstat,
  find: (path) => lstat(path).catch(absent),
  findLink: (path) => fs.promises.readlink(path).catch(absentLink),
  stat: promisify(fs.stat),
  fstat: promisify(fs.fstat),
  realpath: (path) => realpath(path),
  readlink: (path) => fs.promises.readlink(path),
  readdir: (path) => fs.promises.readdir(path),
  open: promisify(fs.open) as Calls["open"],
  close: promisify(fs.close),
  mkdir: async (path, mode) => void (await mkdir(path, { mode })),
  rmdir: promisify(fs.rmdir),
  rename: promisify(fs.rename),
  unlink: promisify(fs.unlink),
  symlink: (target, path) => fs.promises.symlink(target, path),
  link: promisify(fs.link),
  chmod: promisify(fs.chmod),
  fchmod: promisify(fs.fchmod),
  utimes: promisify(fs.utimes),
  futimes: promisify(fs.futimes),
  ftruncate: promisify(fs.ftruncate),
};

/** Freeing a file of a GiB takes a good part of a second. */
const SLOW_TO_FREE = 64 << 20;

/** The calls for something that frees a file of this size: a big one mustn't hold up everybody else. */
export function callsToFree(calls: Calls, size: number | undefined): Calls {
  return size !== undefined && size > SLOW_TO_FREE ? pooledCalls : calls;
}

const fsyncCall = promisify(fs.fsync);
const fdatasyncCall = promisify(fs.fdatasync);

/** Always through the pool: it may take as long as the disk likes. */
export const fsync = (fd: number): Promise<void> => fsyncCall(fd);
export const fdatasync = (fd: number): Promise<void> => fdatasyncCall(fd);

/** Copies `[from, to)` of one file into another at the same offset, 1 MiB at a time. */
export async function copyRange(source: number, target: number, from: number, to: number): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(1 << 20, to - from)));
  let at = from;
  while (at < to) {
    const read = await readFully(source, buffer.subarray(0, Math.min(buffer.length, to - at)), at);
    if (read === 0) return;
    await writeFully(target, [buffer.subarray(0, read)], at);
    at += read;
  }
}

/** Reads until the buffer is full or the file ends; the number of bytes read. */
export function readFully(fd: number, buffer: Buffer, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const step = (done: number) => {
      fs.read(fd, buffer, done, buffer.length - done, offset + done, (error, bytes) => {
        if (error) reject(error);
        else if (bytes === 0 || done + bytes === buffer.length) resolve(done + bytes);
        else step(done + bytes);
      });
    };
    step(0);
  });
}

/** writev until everything is written: a short count (disk nearly full, signal) is gone on with, so that the true error shows. */
export function writeFully(fd: number, views: readonly Buffer[], offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (rest: readonly Buffer[], at: number) => {
      fs.writev(fd, rest as Buffer[], at, (error, written) => {
        if (error) {
          reject(error);
          return;
        }
        const left = after(rest, written);
        if (left.length === 0) resolve();
        else if (written === 0) reject(new LongshoreError("no-space", "the storage takes no more bytes"));
        else step(left, at + written);
      });
    };
    step(views, offset);
  });
}

/** What is left of `views` behind its first `bytes` bytes. */
export function after(views: readonly Buffer[], bytes: number): readonly Buffer[] {
  let skip = bytes;
  let index = 0;
  for (; index < views.length; index += 1) {
    const view = views[index] as Buffer;
    if (skip < view.length) break;
    skip -= view.length;
  }
  if (skip === 0) return views.slice(index);
  const [first, ...rest] = views.slice(index);
  return [(first as Buffer).subarray(skip), ...rest];
}
