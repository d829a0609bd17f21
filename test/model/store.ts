import type { Mutation } from "./mutations.js";
import { checkCommit, checkOutcome, type Outcome } from "./rules.js";
import { at, type Message, type Operation, pathsOf, type Reply, type World } from "./world.js";

/** The store's transactions of commit.md. Each changes the world at once, as a transaction does. */

/** Step 3, with the fence of step 2. */
export function commit(
  world: World,
  operations: readonly Operation[],
  { actor, group, expect }: Pick<Message, "actor" | "group" | "expect">,
  mutation: Mutation | undefined,
): Reply {
  const id = at(world.actors, actor).own;
  const operation = at(operations, id);
  const fence = at(world.fences, actor);
  const record = at(world.records, id);
  const claim = pathsOf(operation)
    .map((path) => at(world.claims, path))
    .find((holder) => holder >= 0);
  const fenceHolds = fence === expect || (mutation === "commit-unfenced" && fence >= 0);
  const recordHolds = record === "none" || mutation === "commit-ignores-record";
  const namesHold = claim === undefined || mutation === "commit-ignores-names";
  if (!fenceHolds || !recordHolds || !namesHold) return { applied: false, fence, record, claim: claim ?? -1 };

  checkCommit(world, id);
  world.fences[actor] = group;
  world.records[id] = "committed";
  for (const path of pathsOf(operation)) {
    world.claims[path] = id;
    world.ghost.last[path] = id;
  }
  world.ghost.commits[id] = at(world.ghost.commits, id) + 1;
  world.ghost.committed[id] = at(world.dirs, id).data;
  return { applied: true, fence: group, record: "committed", claim: -1 };
}

/** Step 5. False where somebody else finished it. */
export function finish(
  world: World,
  operations: readonly Operation[],
  id: number,
  outcome: Outcome,
  mutation: Mutation | undefined,
): boolean {
  const guarded = at(world.records, id) === "committed";
  if (!guarded && mutation !== "finish-unguarded") return false;
  if (guarded) {
    if (mutation !== "finish-before-place") checkOutcome(world, id, outcome);
    world.ghost.finished[id] = true;
  }
  if (at(world.records, id) === "committed") world.records[id] = "none";
  for (const path of pathsOf(at(operations, id))) world.claims[path] = -1;
  return true;
}

/**
 * Step 6: the claim goes, the partial stays. The record stays, too, while the owner may ask: an absent one means success to
 * it, and its partial may be taken or thrown away meanwhile.
 */
export function refuse(
  world: World,
  operations: readonly Operation[],
  id: number,
  mutation: Mutation | undefined,
): void {
  const guarded = at(world.records, id) === "committed";
  if (!guarded && mutation !== "refuse-unguarded") return;
  if (guarded) {
    checkOutcome(world, id, "refused");
    world.ghost.finished[id] = true;
  }
  for (const path of pathsOf(at(operations, id))) world.claims[path] = -1;
  world.records[id] = mutation === "refuse-forgets" ? "none" : "refused";
}

/**
 * Step 8. The record hangs on the old owner's lease; where that has ended, the owner can't commit any more, and none is
 * needed. False where the old owner committed in the meantime.
 */
export function supersede(world: World, old: number, mutation: Mutation | undefined): boolean {
  if (mutation === "take-unannounced") return at(world.records, old) !== "committed";
  const owner = world.actors.findIndex(({ own }) => own === old);
  const record = at(world.records, old);
  if (record !== "none" && record !== "superseded" && mutation !== "take-unguarded") return false;
  if (at(world.fences, owner) >= 0) world.records[old] = "superseded";
  return true;
}

/** A lease ends, and with it the owner key and what hangs on it. */
export function expire(world: World, actor: number): void {
  world.fences[actor] = -1;
  const { own } = at(world.actors, actor);
  if (own >= 0 && at(world.records, own) === "superseded") world.records[own] = "none";
}
