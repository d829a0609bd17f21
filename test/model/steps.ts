import type { Mutation } from "./mutations.js";
import { finish, refuse, supersede } from "./store.js";
import { type Actor, at, type Operation, type Step, settle, touch, type World } from "./world.js";

/** The steps of commit.md that owners, helpers and takers share: one system call or transaction each. */

export interface Rules {
  readonly operations: readonly Operation[];
  /** Commit groups travel, may be late, and are repeated; otherwise they are answered at once. */
  readonly wire: boolean;
  readonly mutation: Mutation | undefined;
}

/** How often a commit is tried anew after helping, where its messages may still be under way. */
const mostGroups = 2;

export function tell(world: World, actor: Actor, what: "ok" | "failed" | "unknown"): void {
  if (actor.own >= 0 && actor.own === actor.target) world.ghost.told[actor.own] = what;
}

/** What it knew matters no more: forgetting it makes many states one. */
export function end(actor: Actor): void {
  Object.assign(actor, { step: "end", target: actor.own < 0 ? actor.target : actor.own });
  Object.assign(actor, { group: 0, copy: 0, reply: undefined, spare: 0, saw: false });
}

/** Done with the target: a helper ends, an owner goes back to its own commit. */
function done(actor: Actor): void {
  const helped = actor.own >= 0 && actor.target !== actor.own;
  // A partial that turned out to be committed was to be taken over: the client hears that the file is complete.
  if (!helped || actor.taken === actor.target || actor.group >= mostGroups) end(actor);
  else Object.assign(actor, { target: actor.own, step: "send", saw: false });
}

/** The record is COMMITTED: goes on with its storage part. */
export function begin(world: World, actor: Actor, rules: Rules): void {
  const upload = at(rules.operations, actor.target).kind === "upload";
  if (upload && rules.mutation === "reply-before-place") tell(world, actor, "ok");
  if (!upload) actor.step = "detach";
  else actor.step = rules.mutation === "finish-before-place" ? "finish" : "place";
}

/** Replies at the first moment at which it may, because that promises most. */
function placed(world: World, actor: Actor, rules: Rules): void {
  if (rules.mutation === "finish-before-place") {
    actor.step = "clean";
    return;
  }
  tell(world, actor, "ok");
  actor.step = "finish";
}

function removeDirectory(world: World, id: number): void {
  Object.assign(at(world.dirs, id), {
    at: "gone",
    data: 0,
    v: 0,
    marked: false,
    w: 0,
    backed: false,
    writer: id,
  });
}

type Do = (world: World, actor: Actor, rules: Rules) => void;

const place: Partial<Record<Step, Do>> = {
  place(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    const { path } = at(rules.operations, actor.target);
    const judged = rules.mutation === "judge-by-path" && actor.own !== actor.target && at(world.files, path) !== 0;
    if (judged) actor.step = "finish";
    else if (dir.at !== "plain" || dir.data === 0) actor.step = "is-dir-there";
    else if (world.blocked === path) actor.step = rules.mutation === "refuse-in-place" ? "void" : "set-aside";
    else {
      // Without its claim by design: what must show is the harm, not that the rule was broken.
      const last = at(world.ghost.last, path) === actor.target;
      if (rules.mutation !== "finish-before-place" || !last) touch(world, path, actor.target);
      else settle(world, path);
      world.files[path] = dir.data;
      dir.data = 0;
      world.ghost.effect[actor.target] = "placed";
      placed(world, actor, rules);
    }
  },
  "is-dir-there"(world, actor, rules) {
    const there = at(world.dirs, actor.target).at === "plain" || rules.mutation === "missing-is-placed";
    if (there) placed(world, actor, rules);
    else actor.step = "reread";
  },
  reread(world, actor, rules) {
    const record = at(world.records, actor.target);
    if (record === "committed") {
      if (rules.mutation === "finish-before-place") done(actor);
      else actor.step = "look-aside";
      return;
    }
    // COMMITTED never becomes SUPERSEDED: that was put when the record had been finished and was gone.
    const refused = record === "refused" || (record === "superseded" && rules.mutation === "superseded-is-failure");
    tell(world, actor, refused ? "failed" : "ok");
    done(actor);
  },
  "set-aside"(world, actor) {
    const dir = at(world.dirs, actor.target);
    if (dir.at === "plain") dir.at = "refused";
    actor.step = "look-aside";
  },
  "look-aside"(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    if (dir.at === "refused" && dir.data !== 0) actor.step = "void";
    else if (dir.at === "refused") placed(world, actor, rules);
    else actor.step = "reread";
    // Neither here nor there while the record stands: the rules report it, nothing is left to do.
    if (dir.at === "gone" && at(world.records, actor.target) === "committed") end(actor);
  },
  void(world, actor, rules) {
    refuse(world, rules.operations, actor.target, rules.mutation);
    const dir = at(world.dirs, actor.target);
    if (rules.mutation === "refuse-in-place" && dir.at === "plain") dir.at = "refused";
    actor.step = "reread";
  },
};

function returnTo(world: World, actor: Actor, rules: Rules, inode: number): void {
  const { path } = at(rules.operations, actor.target);
  touch(world, path, actor.target);
  world.files[path] = inode;
  world.ghost.effect[actor.target] = "none";
}

/**
 * A rename whose target can't be replaced. `v` leaves its name only once, to the target or to `w`: that decides. Each later
 * reader must still see which it was, hence a mark before either is moved on.
 */
const giveBack: Partial<Record<Step, Do>> = {
  back(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    if (rules.mutation === "back-directly") {
      actor.step = dir.v !== 0 ? "unmark" : "finish";
      if (dir.v !== 0) returnTo(world, actor, rules, dir.v);
    } else {
      actor.step = "is-w-there";
      if (dir.v !== 0) dir.w = dir.v;
    }
    dir.v = 0;
  },
  unmark(world, actor) {
    at(world.dirs, actor.target).marked = false;
    Object.assign(actor, { saw: false, step: "finish" });
  },
  "is-w-there"(world, actor) {
    const dir = at(world.dirs, actor.target);
    if (dir.at === "gone") done(actor);
    else actor.step = dir.w !== 0 ? "mark-back" : "is-backed";
  },
  "mark-back"(world, actor) {
    const dir = at(world.dirs, actor.target);
    if (dir.at !== "gone") dir.backed = true;
    actor.step = "return";
  },
  return(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    if (dir.w !== 0) returnTo(world, actor, rules, dir.w);
    dir.w = 0;
    Object.assign(actor, { saw: false, step: "finish" });
  },
  "is-backed"(world, actor) {
    const dir = at(world.dirs, actor.target);
    actor.saw = false;
    if (dir.at === "gone") done(actor);
    else actor.step = dir.backed ? "finish" : "is-marked";
  },
  "is-marked"(world, actor) {
    const dir = at(world.dirs, actor.target);
    actor.saw = dir.marked;
    if (dir.at === "gone") done(actor);
    else actor.step = "finish";
  },
};

const takeAway: Partial<Record<Step, Do>> = {
  detach(world, actor, rules) {
    const { path, to } = at(rules.operations, actor.target);
    const dir = at(world.dirs, actor.target);
    const inode = at(world.files, path);
    const direct = rules.mutation === "rename-directly" && to !== undefined;
    const unlink = rules.mutation === "delete-unlinks" && to === undefined;
    if (inode !== 0 && (dir.at === "plain" || direct || unlink)) {
      touch(world, path, actor.target);
      world.files[path] = 0;
      if (direct) {
        touch(world, to, actor.target);
        world.files[to] = inode;
        dir.marked = true;
      } else dir.v = inode;
      world.ghost.effect[actor.target] = direct ? "moved" : "taken";
    }
    actor.step = rules.mutation === "no-fence" ? "is-v-there" : "fence";
  },
  fence(world, actor) {
    const dir = at(world.dirs, actor.target);
    if (dir.at === "plain") dir.at = "fenced";
    actor.step = "is-v-there";
  },
  "is-v-there"(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    actor.saw = dir.v !== 0;
    if (dir.at === "gone") done(actor);
    else if (at(rules.operations, actor.target).kind === "delete") actor.step = "finish";
    else if (!actor.saw) actor.step = rules.mutation === "back-directly" ? "is-marked" : "is-w-there";
    else actor.step = rules.mutation === "rename-unmarked" ? "move" : "mark";
  },
  mark(world, actor) {
    const dir = at(world.dirs, actor.target);
    if (dir.at !== "gone") dir.marked = true;
    actor.step = "move";
  },
  move(world, actor, rules) {
    const dir = at(world.dirs, actor.target);
    const { to } = at(rules.operations, actor.target);
    if (to !== undefined && dir.v !== 0 && world.blocked === to) {
      actor.step = "back";
      return;
    }
    const moves = to !== undefined && dir.v !== 0;
    if (moves) {
      touch(world, to, actor.target);
      world.files[to] = dir.v;
      dir.v = 0;
      world.ghost.effect[actor.target] = "moved";
    }
    // Missing: another moved it on, or is giving it back.
    actor.step = moves || rules.mutation === "back-directly" ? "finish" : "is-w-there";
  },
  ...giveBack,
};

const finishing: Partial<Record<Step, Do>> = {
  look(world, actor, rules) {
    if (at(world.records, actor.target) === "committed") begin(world, actor, rules);
    else done(actor);
  },
  finish(world, actor, rules) {
    const { kind } = at(rules.operations, actor.target);
    if (rules.mutation === "clean-before-finish" && at(world.dirs, actor.target).at !== "gone") {
      removeDirectory(world, actor.target);
      return;
    }
    const found = { upload: "placed", delete: "taken", rename: "moved" } as const;
    const outcome = kind === "upload" || actor.saw ? found[kind] : "nothing";
    const mine = finish(world, rules.operations, actor.target, outcome, rules.mutation);
    if (!mine) done(actor);
    else actor.step = rules.mutation === "finish-before-place" && kind === "upload" ? "place" : "clean";
  },
  clean(world, actor) {
    removeDirectory(world, actor.target);
    done(actor);
  },
};

const takeOver: Partial<Record<Step, Do>> = {
  find(world, actor) {
    const record = at(world.records, actor.taken);
    if (record === "committed") Object.assign(actor, { target: actor.taken, step: "look" });
    else if (record === "refused") end(actor);
    else actor.step = "supersede";
  },
  supersede(world, actor, rules) {
    actor.step = supersede(world, actor.taken, rules.mutation) ? "seize" : "find";
  },
  seize(world, actor, rules) {
    const from = at(world.dirs, actor.taken);
    if (from.at !== "plain") {
      end(actor);
      return;
    }
    world.dirs[actor.own] = { ...from };
    removeDirectory(world, actor.taken);
    if (rules.mutation === "take-signs-early") {
      actor.saw = at(world.actors, from.writer).step === "dead";
      at(world.dirs, actor.own).writer = world.actors.indexOf(actor);
    }
    actor.step = "copy";
  },
  copy(world, actor, rules) {
    const dir = at(world.dirs, actor.own);
    // Seized in its turn by another taker; or empty, because the upload was finished before it was superseded.
    if (dir.at === "gone" || (dir.data === 0 && rules.mutation !== "take-empty")) {
      end(actor);
      return;
    }
    const self = world.actors.indexOf(actor);
    const lastOwner = world.actors.findIndex(({ own }) => own === actor.taken);
    const judged = rules.mutation === "take-trusts-id" ? lastOwner : dir.writer;
    const released = actor.saw || (judged !== self && at(world.actors, judged).step === "dead");
    if (released || rules.mutation === "take-without-copy") {
      Object.assign(dir, { writer: self });
      Object.assign(actor, { fd: dir.data, saw: false, step: "close" });
      return;
    }
    world.inodes += 1;
    actor.spare = world.inodes;
    actor.step = "swap";
  },
  swap(world, actor) {
    const dir = at(world.dirs, actor.own);
    if (dir.at === "gone") {
      end(actor);
      return;
    }
    // The `owner` file goes with the new inode: until then the old writer is the one to fear.
    Object.assign(dir, { data: actor.spare, writer: world.actors.indexOf(actor) });
    Object.assign(actor, { fd: actor.spare, spare: 0, step: "close" });
  },
};

export const steps: Partial<Record<Step, Do>> = {
  close(_world, actor, rules) {
    if (rules.mutation !== "commit-before-close") actor.fd = 0;
    actor.step = "send";
  },
  ...place,
  ...takeAway,
  ...finishing,
  ...takeOver,
};
