import { isWithin } from "./virtual-path.js";

interface Running {
  readonly paths: readonly string[];
  readonly exclusive: boolean;
  readonly end: Promise<void>;
}

/**
 * Clients pipeline: REMOVE and RENAME onto the same name, CLOSE and SETSTAT, without waiting for a reply. Operations of one
 * session on names that touch run in the order in which they came; all others side by side.
 */
export class NameOrder {
  readonly #running = new Set<Running>();

  run<T>(paths: readonly string[], exclusive: boolean, act: () => Promise<T>): Promise<T> {
    const before: Promise<void>[] = [];
    for (const other of this.#running) {
      if ((exclusive || other.exclusive) && touch(paths, other.paths)) before.push(other.end);
    }
    const result = before.length === 0 ? act() : Promise.all(before).then(act);
    const entry: Running = {
      paths,
      exclusive,
      end: result.then(
        () => this.#ended(entry),
        () => this.#ended(entry),
      ),
    };
    this.#running.add(entry);
    return result;
  }

  #ended(entry: Running): void {
    this.#running.delete(entry);
  }
}

function touch(one: readonly string[], other: readonly string[]): boolean {
  return one.some((a) => other.some((b) => isWithin(a, b) || isWithin(b, a)));
}
