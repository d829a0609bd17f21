import { isCode } from "#lib/errors.js";
import type { Attributes, DirectoryEntry, DirectoryHandle } from "./contract.js";

/** A listing: names at once, attributes batch by batch, so that 100,000 entries neither fill memory nor block the rest. */
export class Listing implements DirectoryHandle {
  readonly #names: readonly string[];
  readonly #attributesOf: (name: string) => Promise<Attributes>;
  #at = 0;

  constructor(names: readonly string[], attributesOf: (name: string) => Promise<Attributes>) {
    this.#names = names;
    this.#attributesOf = attributesOf;
  }

  async next(most: number): Promise<readonly DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    while (entries.length < most && this.#at < this.#names.length) {
      const name = this.#names[this.#at] as string;
      this.#at += 1;
      try {
        entries.push({ name, attributes: await this.#attributesOf(name) });
      } catch (error) {
        if (!isCode(error, "not-found")) throw error; // deleted since the names were read, or an empty partial
      }
    }
    return entries;
  }

  async close(): Promise<void> {
    this.#at = this.#names.length;
  }
}
