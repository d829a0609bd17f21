import fs from "node:fs";
import { systemCode } from "#lib/errors.js";
import type { Partial, PartialName } from "../contract.js";
import { type Calls, readFully } from "./calls.js";
import type { Layout } from "./layout.js";

/**
 * Pointers from (account, target) to the upload opened last: a symbolic link whose text is the upload's id, since a link is
 * made, read and replaced by one call each. During a take-over its text is `<new>,<old>`: the directory's rename decides
 * which of the two it is, so a crash between the two calls loses no partial.
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
    for (const id of await this.#read(this.#layout.pointer(name))) {
      for (const directory of [id, `${id}.refused`]) {
        try {
          const stat = await this.#calls.lstat(this.#layout.data(directory));
          // a second link is the committed name, after a crash between rename and directory sync: not a partial
          if (stat.isFile() && stat.nlink === 1) {
            return { id, directory, prefix: stat.size, mtimeMs: stat.mtimeMs };
          }
        } catch (error) {
          if (systemCode(error) !== "ENOENT") throw error;
        }
      }
    }
    return undefined;
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

  async point(name: PartialName, id: string, before?: string): Promise<void> {
    const pointer = this.#layout.pointer(name);
    const directory = pointer.slice(0, pointer.lastIndexOf("/"));
    this.#count += 1;
    const temporary = `${directory}/${TEMPORARY}${id}-${this.#count}`;
    const text = before === undefined ? id : `${id},${before}`;
    for (;;) {
      try {
        await this.#calls.symlink(text, temporary);
        await this.#calls.rename(temporary, pointer);
        return;
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw error;
        try {
          await this.#calls.mkdir(directory, 0o700);
        } catch (failure) {
          if (systemCode(failure) !== "EEXIST") throw failure;
        }
      }
    }
  }

  /** Aside, look, and back if it was another's: a newer upload's pointer must not go with an older one's end. */
  async unpoint(name: PartialName, id: string): Promise<void> {
    const pointer = this.#layout.pointer(name);
    const ids = await this.#read(pointer);
    if (!ids.includes(id)) return;
    this.#count += 1;
    const aside = `${pointer.slice(0, pointer.lastIndexOf("/"))}/${TEMPORARY}${id}-${this.#count}`;
    try {
      await this.#calls.rename(pointer, aside);
      if (!(await this.#read(aside)).includes(id)) await this.#back(aside, pointer);
      await this.#calls.unlink(aside);
    } catch (error) {
      if (systemCode(error) !== "ENOENT") throw error;
    }
  }

  async pointed(): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (const hash of await this.#calls.readdir(this.#layout.partials)) {
      const directory = `${this.#layout.partials}/${hash}`;
      let names: string[];
      try {
        names = await this.#calls.readdir(directory);
      } catch {
        continue;
      }
      for (const name of names) for (const id of await this.#read(`${directory}/${name}`)) found.add(id);
      if (names.length === 0) {
        try {
          await this.#calls.rmdir(directory);
        } catch {
          // in use again
        }
      }
    }
    return found;
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

  async #back(aside: string, pointer: string): Promise<void> {
    try {
      await this.#calls.link(aside, pointer);
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error; // a still newer one: it wins
    }
  }

  async #read(pointer: string): Promise<readonly string[]> {
    try {
      return (await this.#calls.readlink(pointer)).split(",").filter((id) => /^[a-z0-9.-]+$/.test(id));
    } catch (error) {
      const code = systemCode(error);
      if (code === "ENOENT" || code === "EINVAL" || code === "ENOTDIR") return [];
      throw error;
    }
  }
}

/** No file of a partner's can have this name in a pointer directory, since names there are theirs: it holds a slash's stand-in. */
const TEMPORARY = ".\u0001tmp-";
