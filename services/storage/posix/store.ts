import { randomBytes } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { asLongshoreError, LongshoreError, systemCode } from "#lib/errors.js";
import type {
  Effect,
  FileStat,
  Measured,
  Partial,
  PartialName,
  Placement,
  ReadFile,
  Room,
  StagedEntry,
  StagedFile,
  StageOptions,
  StatChange,
  Store,
  StoreCapabilities,
  TrialAct,
  TrialAnswer,
} from "../contract.js";
import { type Calls, callsToFree, directCalls, fsync, pooledCalls, writeFully } from "./calls.js";
import { Directories } from "./directories.js";
import { Effects } from "./effects.js";
import { Layout } from "./layout.js";
import { Partials, tagOf } from "./partials.js";
import { PosixReadFile } from "./read-file.js";
import { Resolver } from "./resolve.js";
import { markReleased, PosixStagedFile } from "./staging.js";
import { toFileStat } from "./stat.js";
import { tryStorage } from "./trial.js";
import { measureTree } from "./walk.js";

const { O_RDONLY, O_RDWR, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

/** Less free space than this, or than this share of a small volume, is said to be none. */
const FULL_BELOW = 16 << 20;
const FULL_SHARE = 0.05;

export interface PosixStoreOptions {
  /** The mounted root, absolute. */
  readonly root: string;
  /** Its name in store keys. Default "main". */
  readonly name?: string;
  /** No other host writes to it. */
  readonly local: boolean;
  /** What the sentinel must say: the site's id. */
  readonly siteId: string;
  /** Makes the sentinel where it is missing: only for a store that no node of the site has ever used. */
  readonly initialize: boolean;
}

/** Opens a mounted file system as a store. Throws where the root is missing, not writable, or another site's. */
export async function createPosixStore(options: PosixStoreOptions): Promise<PosixStore> {
  const calls = options.local ? directCalls : pooledCalls;
  let root: string;
  try {
    root = await calls.realpath(options.root);
  } catch (error) {
    throw new LongshoreError(
      "unavailable",
      `storage.path ${options.root} can't be reached: ${systemCode(error)}`,
      error,
    );
  }
  const layout = new Layout(root);
  const store = new PosixStore(layout, calls, options);
  await store.open(options.initialize);
  return store;
}

class PosixStore implements Store {
  readonly name: string;
  readonly capabilities: StoreCapabilities;
  readonly #layout: Layout;
  readonly #calls: Calls;
  readonly #siteId: string;
  readonly #directories: Directories;
  readonly #effects: Effects;
  readonly #partials: Partials;
  readonly #resolver: Resolver;

  constructor(layout: Layout, calls: Calls, options: PosixStoreOptions) {
    this.name = options.name ?? "main";
    this.capabilities = { local: options.local, hardLinks: true };
    this.#layout = layout;
    this.#calls = calls;
    this.#siteId = options.siteId;
    this.#directories = new Directories(calls);
    this.#effects = new Effects(layout, calls, this.#directories);
    this.#partials = new Partials(layout, calls);
    this.#resolver = new Resolver(layout, calls);
  }

  async open(initialize: boolean): Promise<void> {
    if (initialize) {
      const { private: top, ops, partials, closed, probes } = this.#layout;
      for (const path of [top, ops, partials, closed, probes]) await this.#makeDirectory(path);
      await this.#writeSentinel();
    }
    await this.#checkSentinel();
  }

  resolve(home: string, parts: readonly string[], follow: boolean): Promise<string> {
    return this.#resolver.resolve(home, parts, follow);
  }

  within(home: string, physical: string): Promise<readonly string[] | undefined> {
    return this.#resolver.within(home, physical);
  }

  async ensureHome(home: string): Promise<void> {
    await this.#checkSentinel(); // nothing is made on a bare mount point
    let path = this.#layout.root;
    for (const part of home.split("/")) {
      path = `${path}/${part}`;
      await this.#makeDirectory(path, 0o755);
    }
  }

  async stat(path: string): Promise<FileStat> {
    return toFileStat(await this.#try(() => this.#calls.lstat(this.#layout.absolute(path)), "no such file"));
  }

  async find(path: string): Promise<FileStat | undefined> {
    const found = await this.#try(() => this.#calls.find(this.#layout.absolute(path)), "the file can't be looked at");
    return found && toFileStat(found);
  }

  async list(path: string): Promise<readonly string[]> {
    const names = await this.#try(
      () => this.#calls.readdir(this.#layout.absolute(path)),
      "the directory can't be read",
    );
    return path === "" ? names.filter((name) => name !== ".longshore") : names;
  }

  readLink(path: string): Promise<string> {
    return this.#try(() => this.#calls.readlink(this.#layout.absolute(path)), "not a link");
  }

  async openRead(path: string): Promise<ReadFile> {
    // non-blocking: a pipe that somebody left in the share must not stop the process
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    const fd = await this.#try(() => this.#calls.open(this.#layout.absolute(path), flags), "the file can't be opened");
    const stat = await this.#calls.fstat(fd);
    if (!stat.isFile()) {
      await this.#calls.close(fd);
      throw new LongshoreError(stat.isDirectory() ? "is-a-directory" : "permission-denied", "not a regular file");
    }
    return new PosixReadFile(fd, stat.size, this.#calls, this.capabilities.local);
  }

  async setAttributes(path: string, change: StatChange): Promise<void> {
    const target = this.#layout.absolute(path);
    const { mode, atime, mtime } = change;
    await this.#try(async () => {
      // chmod and utimes follow links, and a link's target may lie anywhere
      if ((await this.#calls.lstat(target)).isSymbolicLink()) {
        throw new LongshoreError("unsupported", "a link's own attributes can't be set");
      }
      if (mode !== undefined) await this.#calls.chmod(target, mode);
      if (atime !== undefined && mtime !== undefined) await this.#calls.utimes(target, atime, mtime);
    }, "the attributes can't be set");
  }

  statVolume(path: string): Promise<fs.StatsFs> {
    return this.#try(() => fs.promises.statfs(this.#layout.absolute(path)), "the volume can't be read");
  }

  async measure(path: string, signal: AbortSignal): Promise<Measured> {
    await this.#checkSentinel(); // a bare mount point would count as empty
    return measureTree(this.#layout.absolute(path), signal);
  }

  async stageUpload(id: string, options: StageOptions): Promise<StagedFile> {
    return this.#try(async () => {
      await this.#makeStaging(id);
      const fd = await this.#calls.open(this.#layout.data(id), O_RDWR | O_CREAT | O_EXCL, 0o600);
      return new PosixStagedFile(this.#layout, this.#calls, id, fd, 0, options);
    }, "the upload can't be staged");
  }

  async stageEffect(id: string, effect: Effect, mode = 0o755): Promise<void> {
    await this.#try(async () => {
      await this.#makeStaging(id);
      const staged = `${this.#layout.op(id)}/v`;
      if (effect.kind === "mkdir") {
        await this.#calls.mkdir(staged, mode);
        await this.#calls.chmod(staged, mode); // the process's umask must not decide
      }
      if (effect.kind === "link") await this.#calls.link(this.#layout.absolute(effect.from), staged);
    }, "the change can't be staged");
  }

  place(id: string, effect: Effect): Promise<Placement> {
    return this.#effects.place(id, effect);
  }

  async cleanUp(id: string, pointer?: PartialName): Promise<void> {
    try {
      if (pointer !== undefined) await this.#partials.unpoint(pointer, id);
    } catch {
      // a dangling pointer is no partial; swept later
    }
    await this.#removeStaging(id);
    // only a remove or a rename is shut
    if (pointer === undefined) await this.#removeStaging(`${id}.f`);
  }

  findPartial(name: PartialName): Promise<Partial | undefined> {
    return this.#try(() => this.#partials.find(name), "the partial can't be found");
  }

  listPartials(account: string, directory: string): Promise<readonly string[]> {
    return this.#try(() => this.#partials.list(account, directory), "the partials can't be listed");
  }

  tagOf(name: PartialName): string {
    return this.#layout.tag(this.#layout.pointer(name));
  }

  pointPartial(name: PartialName, id: string): Promise<void> {
    return this.#try(() => this.#partials.point(name, id), "the partial can't be recorded");
  }

  repointPartial(name: PartialName, from: string, to: string): Promise<boolean> {
    return this.#try(() => this.#partials.repoint(name, from, to), "the partial can't be recorded");
  }

  unpointPartial(name: PartialName, id: string): Promise<void> {
    return this.#try(() => this.#partials.unpoint(name, id), "the partial can't be removed");
  }

  async isReleased(directory: string): Promise<boolean> {
    return directory.endsWith(".refused") || (await this.#exists(`${this.#layout.op(directory)}/released`));
  }

  async markReleased(directory: string): Promise<void> {
    await this.#try(() => markReleased(this.#layout, this.#calls, directory), "the upload can't be released");
  }

  syncedBytes(directory: string): Promise<number> {
    return this.#partials.synced(directory);
  }

  async taint(directory: string): Promise<boolean> {
    try {
      const path = `${this.#layout.op(directory)}/tainted`;
      await this.#calls.close(await this.#calls.open(path, O_WRONLY | O_CREAT, 0o600));
      return true;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return false;
      throw asLongshoreError(error, "the partial can't be taken over");
    }
  }

  isTainted(directory: string): Promise<boolean> {
    return this.#exists(`${this.#layout.op(directory)}/tainted`);
  }

  isStaged(id: string): Promise<boolean> {
    return this.#exists(this.#layout.data(id));
  }

  async takeDirectory(directory: string, to: string): Promise<boolean> {
    try {
      await this.#calls.rename(this.#layout.op(directory), this.#layout.op(to));
      return true;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return false;
      throw asLongshoreError(error, "the partial can't be taken over");
    }
  }

  async resumeUpload(
    id: string,
    options: StageOptions & { trusted: boolean; onlySynced: boolean },
  ): Promise<StagedFile> {
    return this.#try(async () => {
      const data = this.#layout.data(id);
      const stat = await this.#calls.lstat(data);
      const limit = options.onlySynced ? Math.min(stat.size, await this.#partials.synced(id)) : stat.size;
      if (!options.trusted) {
        // its old writer may wake up with a write in flight: from here on that goes into an inode without a name
        const copy = `${this.#layout.op(id)}/copy`;
        await fs.promises.copyFile(data, copy, fs.constants.COPYFILE_FICLONE);
        await this.#calls.rename(copy, data);
      }
      for (const name of ["tainted", "released", "ooo", "copy"])
        await this.#unlinkIfThere(`${this.#layout.op(id)}/${name}`);
      const fd = await this.#calls.open(data, O_RDWR | O_NOFOLLOW);
      await this.#calls.ftruncate(fd, limit);
      return new PosixStagedFile(this.#layout, this.#calls, id, fd, limit, options);
    }, "the partial can't be resumed");
  }

  async discardUpload(id: string): Promise<void> {
    // renamed first: whoever resumes it at this moment either has it whole or doesn't find it
    const shut = `${id}.f`;
    if (await this.takeDirectory(id, shut)) await this.#removeStaging(shut);
  }

  async putClosed(id: string, note: string): Promise<void> {
    await this.#try(async () => {
      const path = `${this.#layout.closed}/${id}`;
      await this.#writeWhole(`${path}.tmp`, note);
      await this.#calls.rename(`${path}.tmp`, path);
      await this.#directories.sync(this.#layout.closed);
    }, "the closed upload can't be noted");
  }

  async listClosed(): Promise<readonly { id: string; note: string }[]> {
    const found: { id: string; note: string }[] = [];
    for (const id of await this.#calls.readdir(this.#layout.closed)) {
      if (id.endsWith(".tmp")) continue;
      try {
        found.push({ id, note: await fs.promises.readFile(`${this.#layout.closed}/${id}`, "utf8") });
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw error;
      }
    }
    return found;
  }

  async removeClosed(id: string): Promise<void> {
    await this.#unlinkIfThere(`${this.#layout.closed}/${id}`);
  }

  async listStaged(): Promise<readonly StagedEntry[]> {
    const now = await this.#storageNow();
    const names = await this.#calls.readdir(this.#layout.ops);
    // read after the directories, so that what is staged and pointed at meanwhile isn't taken for nobody's
    const { ids, tags } = await this.#partials.pointed(new Set(names));
    const found: StagedEntry[] = [];
    for (const name of names) {
      const [directory, data] = [await this.#mtime(this.#layout.op(name)), await this.#mtime(this.#layout.data(name))];
      if (directory === undefined) continue;
      found.push({
        name,
        ageMs: Math.max(0, now - Math.max(directory, data ?? 0)),
        hasData: data !== undefined,
        pointed: ids.has(name.replace(/\.refused$/, "")) || tags.has(tagOf(name)),
      });
    }
    return found;
  }

  async probe(): Promise<Room> {
    await this.#checkSentinel();
    await this.#storageNow();
    const stat = await this.statVolume("");
    const freeBytes = stat.bavail * stat.bsize;
    const totalBytes = stat.blocks * stat.bsize;
    // a failed upload is cut to its prefix, which leaves a little: full is full for the next one all the same
    return { freeBytes, totalBytes, full: freeBytes < Math.min(FULL_BELOW, totalBytes * FULL_SHARE) };
  }

  tryStorage(name: string, act: TrialAct, note: string): Promise<TrialAnswer> {
    return tryStorage(this.#layout.probes, name, act, note);
  }

  async #mtime(path: string): Promise<number | undefined> {
    try {
      return (await this.#calls.lstat(path)).mtimeMs;
    } catch {
      return undefined;
    }
  }

  async #makeStaging(id: string): Promise<void> {
    try {
      await this.#calls.mkdir(this.#layout.op(id), 0o700);
    } catch (error) {
      // not the client's file, but the staging area itself: NO_SUCH_FILE would send clients astray
      if (systemCode(error) !== "ENOENT") throw error;
      throw new LongshoreError("unavailable", "the storage isn't mounted", error);
    }
  }

  /** The storage's own clock, by a file written now: node clocks may differ from it and from each other. */
  async #storageNow(): Promise<number> {
    const path = join(this.#layout.probes, randomBytes(8).toString("hex"));
    return this.#try(async () => {
      await this.#writeWhole(path, "probe\n");
      try {
        return (await this.#calls.lstat(path)).mtimeMs;
      } finally {
        await this.#unlinkIfThere(path);
      }
    }, "the storage can't be written");
  }

  async #writeSentinel(): Promise<void> {
    // made aside and renamed in: another node never reads half of it, and two nodes write the same
    const aside = join(this.#layout.probes, randomBytes(8).toString("hex"));
    try {
      await this.#calls.lstat(this.#layout.sentinel);
      return;
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
    await this.#writeWhole(aside, `${this.#siteId}\n`);
    await this.#calls.rename(aside, this.#layout.sentinel);
    await this.#directories.sync(this.#layout.private);
  }

  async #checkSentinel(): Promise<void> {
    let text: string;
    try {
      text = await fs.promises.readFile(this.#layout.sentinel, "utf8");
    } catch (error) {
      const hint = "is it mounted? Its file .longshore/site should hold the site's id";
      throw new LongshoreError("unavailable", `the storage has no sentinel (${systemCode(error)}): ${hint}`, error);
    }
    if (text.trim() !== this.#siteId) {
      throw new LongshoreError("unavailable", "the storage belongs to another site: check the mount");
    }
  }

  async #writeWhole(path: string, text: string): Promise<void> {
    const fd = await this.#calls.open(path, O_WRONLY | O_CREAT, 0o600);
    try {
      await writeFully(fd, [Buffer.from(text)], 0);
      await fsync(fd);
    } finally {
      await this.#calls.close(fd);
    }
  }

  /** Staging holds a few files and at most one directory, which is empty unless something went wrong: then it stays. */
  async #removeStaging(name: string): Promise<void> {
    const top = this.#layout.op(name);
    try {
      await this.#calls.rmdir(top);
      return;
    } catch (error) {
      // what was committed in one go left nothing behind; else there is something in it
      if (systemCode(error) === "ENOENT") return;
    }
    try {
      for (const entry of await this.#calls.readdir(top)) {
        const path = `${top}/${entry}`;
        const stat = await this.#calls.lstat(path);
        if (stat.isDirectory()) await this.#calls.rmdir(path);
        else await callsToFree(this.#calls, stat.size).unlink(path);
      }
      await this.#calls.rmdir(top);
    } catch {
      // swept later
    }
  }

  async #makeDirectory(path: string, mode = 0o700): Promise<void> {
    try {
      await this.#calls.mkdir(path, mode);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw asLongshoreError(error, "the storage can't be written");
    }
  }

  async #unlinkIfThere(path: string): Promise<void> {
    try {
      await this.#calls.unlink(path);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }

  #exists(path: string): Promise<boolean> {
    return this.#try(async () => (await this.#calls.find(path)) !== undefined, "the storage failed");
  }

  /** Runs calls whose errors name server paths; what leaves is our own error, without them. */
  async #try<T>(run: () => T | Promise<T>, what: string): Promise<T> {
    try {
      return await run();
    } catch (error) {
      throw asLongshoreError(error, what);
    }
  }
}

export type { PosixStore };
