import type { Entry, Listing, Revision } from "#coordination/contract.js";

/** Hinted keys kept between two listings; a flood of changes costs one whole listing instead. */
const MOST_HINTS = 10_000;

interface Hint {
  readonly keys: readonly string[];
  readonly revision: Revision;
}

/**
 * A copy of everything under a prefix, brought up to date by what changed since: with 100,000 accounts a whole listing is
 * 50 MiB, and one of them changes. It shows one revision, whole, or says that it can't.
 */
export class Replica {
  readonly #entries = new Map<string, Entry>();
  #hints: Hint[] = [];
  #hinted = 0;
  #revision: Revision = 0;
  #whole = false;

  /** What to ask for the changes since. Undefined: ask for everything. */
  get changedSince(): Revision | undefined {
    return this.#whole ? this.#revision : undefined;
  }

  /** These keys were changed or deleted, at this revision at the latest. */
  hint(keys: readonly string[], revision: Revision): void {
    if (!this.#whole || revision <= this.#revision) return;
    this.#hints.push({ keys, revision });
    this.#hinted += keys.length;
    if (this.#hinted > MOST_HINTS) this.doubt();
  }

  /** Hints may have been missed: only a whole listing helps. */
  doubt(): void {
    this.#whole = false;
    this.#forgetHints();
  }

  replace(listing: Listing): Listing {
    this.#entries.clear();
    for (const entry of listing.entries) this.#entries.set(entry.key, entry);
    this.#revision = listing.revision;
    this.#whole = true;
    this.#forgetHints();
    return listing;
  }

  /**
   * The copy as of `changes`, a listing of what was changed since `changedSince`. Undefined: something was deleted and nobody
   * said what; ask for everything.
   *
   * Why that is right: an entry that is there now and wasn't changed was in the copy, so that what is there now is a part
   * of copy and changes together. A hinted key that isn't among the changes was deleted. What is left after taking those
   * out still holds all that is there; with the same number of entries it is the same.
   */
  update(changes: Listing): Listing | undefined {
    for (const entry of changes.entries) this.#entries.set(entry.key, entry);
    const changed = new Set(changes.entries.map(({ key }) => key));
    const later: Hint[] = [];
    for (const hint of this.#hints) {
      if (hint.revision > changes.revision) later.push(hint);
      else for (const key of hint.keys) if (!changed.has(key)) this.#entries.delete(key);
    }
    this.#forgetHints();
    this.#revision = changes.revision;
    for (const { keys, revision } of later) this.hint(keys, revision);
    if (this.#entries.size !== changes.total) {
      this.doubt();
      return undefined;
    }
    return { entries: [...this.#entries.values()], revision: changes.revision };
  }

  #forgetHints(): void {
    this.#hints = [];
    this.#hinted = 0;
  }
}
