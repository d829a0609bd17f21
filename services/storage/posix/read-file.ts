import fs from "node:fs";
import { asLongshoreError } from "#lib/errors.js";
import type { FileStat, ReadFile } from "../contract.js";
import type { Calls } from "./calls.js";
import { toFileStat } from "./stat.js";

/** Files up to here are read at once where the storage is local: a hop to the thread pool costs more than the read. */
const DIRECT_BYTES = 128 << 10;

export class PosixReadFile implements ReadFile {
  readonly size: number;
  readonly #fd: number;
  readonly #calls: Calls;
  readonly #direct: boolean;
  #closed = false;
  #reading = 0;
  #idle: (() => void) | undefined;

  constructor(fd: number, size: number, calls: Calls, local: boolean) {
    this.#fd = fd;
    this.size = size;
    this.#calls = calls;
    this.#direct = local && size <= DIRECT_BYTES;
  }

  async stat(): Promise<FileStat> {
    return toFileStat(await this.#calls.fstat(this.#fd));
  }

  read(offset: number, views: readonly Buffer[], done: (error: Error | undefined, bytes: number) => void): void {
    if (this.#direct) {
      let bytes: number;
      try {
        bytes = fs.readvSync(this.#fd, views, offset);
      } catch (error) {
        done(asLongshoreError(error, "the file can't be read"), 0);
        return;
      }
      done(undefined, bytes);
      return;
    }
    this.#reading += 1;
    fs.readv(this.#fd, views, offset, (error, bytes) => {
      this.#reading -= 1;
      done(error ? asLongshoreError(error, "the file can't be read") : undefined, bytes);
      if (this.#reading === 0) this.#idle?.();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // a descriptor that is closed under a read might be another file's by then
    if (this.#reading > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await this.#calls.close(this.#fd);
  }
}
