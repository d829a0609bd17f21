import fs from "node:fs";
import { type Calls, fsync } from "./calls.js";

/**
 * Makes directory entries durable. Many commits into one directory share a sync: one that starts after an entry was made
 * covers it, so at most one runs and one waits for each directory.
 */
export class Directories {
  readonly #calls: Calls;
  readonly #running = new Map<string, { now: Promise<void>; next: Promise<void> | undefined }>();

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Entries made in `path` before this call survive the host. */
  sync(path: string): Promise<void> {
    const running = this.#running.get(path);
    if (running === undefined) {
      const now = this.#sync(path);
      const entry = { now, next: undefined };
      this.#running.set(path, entry);
      const done = () => {
        if (this.#running.get(path) === entry) this.#running.delete(path);
      };
      now.then(done, done);
      return now;
    }
    running.next ??= running.now.then(
      () => this.#again(path, running),
      () => this.#again(path, running),
    );
    return running.next;
  }

  #again(path: string, before: { now: Promise<void> }): Promise<void> {
    const entry = this.#running.get(path);
    if (entry === before) this.#running.delete(path);
    return this.sync(path);
  }

  async #sync(path: string): Promise<void> {
    const fd = await this.#calls.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
    try {
      await fsync(fd);
    } finally {
      await this.#calls.close(fd);
    }
  }
}
