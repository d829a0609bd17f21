import { Violation } from "./search.js";
import { at, type Operation, type World } from "./world.js";

/** The invariants of commit.md, and the promises that follow from them. Each throws `Violation`. */

function isAtItsPlace(world: World, operations: readonly Operation[], upload: number): boolean {
  const { committed, gone } = world.ghost;
  return at(gone, upload) || at(world.files, at(operations, upload).path) === at(committed, upload);
}

/** Holds in every state. */
export function checkState(world: World, operations: readonly Operation[]): void {
  for (const { fd } of world.actors) {
    if (fd === 0) continue;
    if (world.files.includes(fd)) throw new Violation("a file in its final place has a writer");
    world.records.forEach((record, id) => {
      if (record === "committed" && at(world.dirs, id).data === fd)
        throw new Violation("a committed inode has a writer");
    });
  }
  operations.forEach(({ kind }, id) => {
    const record = at(world.records, id);
    const told = at(world.ghost.told, id);
    const effect = at(world.ghost.effect, id);
    const dir = at(world.dirs, id);
    if (record === "committed" && dir.at === "gone")
      throw new Violation("a committed record has lost its directory: nobody can tell what became of it");
    if (kind !== "upload") return;
    if (record === "refused") {
      const kept = dir.at === "refused" && dir.data !== 0;
      // Gone: its account threw the partial away.
      if (!kept && !at(world.ghost.gone, id)) throw new Violation("a refused upload lost its partial");
      if (told === "ok") throw new Violation("a refused upload was acknowledged");
    }
    if (told === "failed" && (record === "committed" || effect === "placed"))
      throw new Violation("the client was told of a failure, and the upload was committed");
    if (told === "ok" && (effect !== "placed" || !isAtItsPlace(world, operations, id)))
      throw new Violation("an acknowledged upload isn't at its path, and nothing replaced it");
  });
}

/** Holds once recovery had its way in a world whose other processes are all dead. */
export function checkRecovered(world: World, operations: readonly Operation[]): void {
  checkState(world, operations);
  if (world.claims.some((claim) => claim >= 0)) throw new Violation("recovery left a claim behind");
  operations.forEach((operation, id) => {
    if (at(world.records, id) === "committed") throw new Violation("recovery can't finish a committed operation");
    if (at(world.ghost.commits, id) === 0 || operation.kind !== "upload") return;
    const refused = at(world.records, id) === "refused";
    if (!refused && (at(world.ghost.effect, id) !== "placed" || !isAtItsPlace(world, operations, id)))
      throw new Violation("a committed upload is lost");
  });
}

/** What finish records. */
export type Outcome = World["ghost"]["effect"][number] | "nothing" | "refused";

/** When finish records an outcome, it is what really happened: the event goes out once, and only if there was one. */
export function checkOutcome(world: World, id: number, outcome: Outcome): void {
  const effect = at(world.ghost.effect, id);
  if (at(world.ghost.finished, id)) throw new Violation("an operation was finished twice: two events");
  if ((outcome === "nothing" || outcome === "refused" ? "none" : outcome) !== effect)
    throw new Violation(`finish recorded "${outcome}", but what happened is "${effect}"`);
}

/** When the store applies a commit. */
export function checkCommit(world: World, id: number): void {
  if (at(world.ghost.commits, id) > 0) throw new Violation("one operation was committed twice");
}
