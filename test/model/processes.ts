import type { Successor } from "./search.js";
import { begin, end, type Rules, steps, tell } from "./steps.js";
import { commit } from "./store.js";
import { type Actor, at, clone, type Reply, type World } from "./world.js";

/**
 * What a process can do next. A zombie needs no code of its own: a process that isn't scheduled for long is one. A
 * death needs none either, but for what it tells others (a reaped writer): dying is never being scheduled again.
 */

/** How often one group is sent. */
const mostCopies = 2;

/** Step 2: what an owner makes of the answer to its commit. */
function onReply(world: World, actor: Actor, reply: Reply, rules: Rules): void {
  // Own group in the owner key: it was applied, though this answer belongs to a repetition that wasn't.
  if (reply.applied || reply.fence > 0) begin(world, actor, rules);
  else if (reply.fence < 0) {
    if (reply.record === "committed") begin(world, actor, rules);
    else {
      tell(world, actor, "unknown");
      end(actor);
    }
  } else if (reply.record !== "none") {
    // Superseded: no transaction of ours can be applied any more, so this is certain.
    tell(world, actor, "failed");
    end(actor);
  } else Object.assign(actor, { target: reply.claim, step: "look" });
}

/** A commit group reaches the store. Its answer counts only while the owner waits for this copy. */
export function arrive(world: World, index: number, rules: Rules): void {
  const message = at(world.wire, index);
  world.wire.splice(index, 1);
  const reply = commit(world, rules.operations, message, rules.mutation);
  const actor = at(world.actors, message.actor);
  if (actor.step === "wait" && actor.group === message.group && actor.copy === message.copy)
    onReply(world, actor, reply, rules);
}

export function choices(world: World, index: number, rules: Rules): Successor<World>[] {
  const actor = at(world.actors, index);
  const choice = (label: string, change: (world: World, actor: Actor) => void): Successor<World> => ({
    label,
    make() {
      const made = clone(world);
      change(made, at(made.actors, index));
      return made;
    },
  });
  const { step } = actor;
  if (step === "end" || step === "dead") return [];
  // A helper that finds nothing to help would only be gone.
  if (step === "look" && actor.own < 0 && at(world.records, actor.target) !== "committed") return [];

  if (step === "send") {
    if (!rules.wire)
      return [
        choice("commits", (made, self) => {
          const reply = commit(made, rules.operations, { actor: index, group: 1, expect: 0 }, rules.mutation);
          onReply(made, self, reply, rules);
        }),
      ];
    return [
      choice("sends its commit", (made, self) => {
        Object.assign(self, { group: self.group + 1, copy: 1, step: "wait" });
        made.wire.push({ actor: index, group: self.group, expect: 0, copy: 1 });
      }),
    ];
  }
  if (step === "wait") {
    const list = [
      choice("gives up waiting", (made, self) => {
        const absent = rules.mutation === "absence-is-failure" && at(made.records, self.own) === "none";
        tell(made, self, absent ? "failed" : "unknown");
        end(self);
      }),
    ];
    if (actor.copy < mostCopies)
      list.push(
        choice("repeats its commit", (made, self) => {
          self.copy += 1;
          const expect = rules.mutation === "repeat-anew" ? Math.max(0, at(made.fences, index)) : 0;
          made.wire.push({ actor: index, group: self.group, expect, copy: self.copy });
        }),
      );
    return list;
  }
  const run = steps[step];
  if (run === undefined) throw new Error(`the model has no step ${step}`);
  return [choice(step, (made, self) => run(made, self, rules))];
}
