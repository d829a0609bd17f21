import fs from "node:fs";
import { dirname } from "node:path";
import { systemCode } from "#lib/errors.js";
import type { Partial, PartialName } from "../contract.js";
import { type Calls, readFully } from "./calls.js";
import type { Layout } from "./layout.js";

/**
 * Pointers from (account, target) to the upload opened last: a symbolic link whose text is the upload's id, since a link is
 * made, read and replaced by one call each. A take-over renames the staging directory first, which one taker wins, and
 * re-points then; whoever dies in between leaves a pointer to a directory that is gone. Its upload is found by the tag that
 * ends the ids of all uploads to one name, so no order of calls and no late call of a zombie loses a partial.
 */
export class Partials {
  readonly #layout: Layout;
  readonly #calls: Calls;
  #count = 0;

  constructor(layout: Layout, calls: Calls) {
    this.#layout = layout;
    this.#calls = calls;
  }

  async find(name: PartialName): Promise<Partial | undefined> {
    const pointer = this.#layout.pointer(name);
    const id = await this.#read(pointer);
    if (id === undefined) return undefined;
    const staged = await this.#staged(id);
    // placed, and not cleaned up yet: the directory is still there, and what else has this tag was replaced by it
    if (staged !== undefined || (await this.#calls.find(this.#layout.op(id))) !== undefined) return staged;
    return this.#search(this.#layout.tag(pointer));
  }

  async list(account: string, directory: string): Promise<readonly string[]> {
    try {
      const names = await this.#calls.readdir(this.#layout.partialDirectory(account, directory));
      return names.filter((name) => !name.startsWith(TEMPORARY));
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw error;
    }
  }

  async point(name: PartialName, id: string): Promise<void> {
    const pointer = this.#layout.pointer(name);
    const directory = dirname(pointer);
    // as a rule no upload of that name is open or left over
    let isFree = true;
    for (;;) {
      try {
        if (isFree) await this.#calls.symlink(id, pointer);
        else {
          const temporary = this.#aside(pointer, id);
          await this.#calls.symlink(id, temporary);
          await this.#calls.rename(temporary, pointer);
        }
        return;
      } catch (error) {
        const code = systemCode(error);
        if (code === "EEXIST" && isFree) {
          isFree = false;
          continue;
        }
        if (code !== "ENOENT") throw error;
        try {
          await this.#calls.mkdir(directory, 0o700);
        } catch (failure) {
          if (systemCode(failure) !== "EEXIST") throw failure;
        }
      }
    }
  }

  async repoint(name: PartialName, from: string, to: string): Promise<boolean> {
    const id = await this.#read(this.#layout.pointer(name));
    // a newer upload's pointer stays; one to nothing is mended
    if (id === undefined || (id !== from && (await this.#staged(id)) !== undefined)) return false;
    await this.point(name, to);
    return true;
  }

  async unpoint(name: PartialName, id: string): Promise<void> {
    await this.#remove(this.#layout.pointer(name), id);
  }

  /** Ids that pointers name, and tags of pointers whose own upload is gone. Takes away pointers to nothing at all. */
  async pointed(staged: ReadonlySet<string>): Promise<{ ids: ReadonlySet<string>; tags: ReadonlySet<string> }> {
    const [ids, tags] = [new Set<string>(), new Set<string>()];
    const known = new Set([...staged].map(tagOf));
    for (const hash of await this.#calls.readdir(this.#layout.partials)) {
      const directory = `${this.#layout.partials}/${hash}`;
      let names: string[];
      try {
        names = await this.#calls.readdir(directory);
      } catch {
        continue;
      }
      for (const name of names) {
        const pointer = `${directory}/${name}`;
        const id = await this.#read(pointer);
        if (id === undefined) continue;
        const tag = this.#layout.tag(pointer);
        ids.add(id);
        if (staged.has(id) || staged.has(`${id}.refused`)) continue;
        tags.add(tag);
        // uploads are staged before they are pointed at, and `staged` is older than what was just read
        if (!known.has(tag) && (await this.#calls.find(this.#layout.op(id))) === undefined)
          await this.#remove(pointer, id);
      }
      if (names.length === 0) {
        try {
          await this.#calls.rmdir(directory);
        } catch {
          // in use again
        }
      }
    }
    return { ids, tags };
  }

  /** The watermark of an upload (staging.ts), 0 where none was written. */
  async synced(id: string): Promise<number> {
    let fd: number;
    try {
      fd = await this.#calls.open(`${this.#layout.op(id)}/synced`, fs.constants.O_RDONLY);
    } catch {
      return 0;
    }
    try {
      const buffer = Buffer.alloc(20);
      const read = await readFully(fd, buffer, 0);
      const text = buffer.subarray(0, read).toString("latin1");
      return /^\d{19}\n$/.test(text) ? Number(text) : 0;
    } finally {
      await this.#calls.close(fd);
    }
  }

  /** The upload staged under this id, whether refused or not. */
  async #staged(id: string): Promise<Partial | undefined> {
    for (const directory of [id, `${id}.refused`]) {
      const stat = await this.#calls.find(this.#layout.data(directory));
      // a second link is the committed name, after a crash between rename and directory sync: not a partial
      if (stat?.isFile() && stat.nlink === 1) return { id, directory, prefix: stat.size, mtimeMs: stat.mtimeMs };
    }
    return undefined;
  }

  /** The newest upload with this tag. Reads the whole staging area, so only for a pointer whose own upload is gone. */
  async #search(tag: string): Promise<Partial | undefined> {
    let newest: Partial | undefined;
    for (const name of await this.#calls.readdir(this.#layout.ops)) {
      if (tagOf(name) !== tag || name.endsWith(".f")) continue;
      const found = await this.#staged(name.replace(/\.refused$/, ""));
      if (found !== undefined && (newest === undefined || found.mtimeMs > newest.mtimeMs)) newest = found;
    }
    return newest;
  }

  /** Aside, look, and back if it was another's: a newer upload's pointer must not go with an older one's end. */
  async #remove(pointer: string, id: string): Promise<void> {
    const aside = this.#aside(pointer, id);
    try {
      // it is there as a rule: no look whether it is, as `#read` has
      if ((await this.#calls.readlink(pointer)) !== id) return;
      await this.#calls.rename(pointer, aside);
      if ((await this.#calls.readlink(aside)) !== id) await this.#back(aside, pointer);
      await this.#calls.unlink(aside);
    } catch (error) {
      const code = systemCode(error);
      if (code !== "ENOENT" && code !== "EINVAL") throw error;
    }
  }

  async #back(aside: string, pointer: string): Promise<void> {
    try {
      await this.#calls.link(aside, pointer);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error; // a still newer one: it wins
    }
  }

  #aside(pointer: string, id: string): string {
    this.#count += 1;
    return `${dirname(pointer)}/${TEMPORARY}${id}-${this.#count}`;
  }

  async #read(pointer: string): Promise<string | undefined> {
    const id = await this.#calls.findLink(pointer);
    return id !== undefined && /^[a-z0-9.-]+$/.test(id) ? id : undefined;
  }
}

/** The tag in the name of a staging directory; names of changes have none. */
export function tagOf(directory: string): string {
  const id = directory.replace(/\.(?:f|refused)$/, "");
  return id.slice(id.lastIndexOf("-") + 1);
}

/** No file of a partner's can have this name in a pointer directory, since names there are theirs: it holds a slash's stand-in. */
const TEMPORARY = ".\u0001tmp-";
