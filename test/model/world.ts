import { Violation } from "./search.js";

/**
 * The world of commit.md in miniature: a shared storage without fencing, a store with transactions, and processes that
 * may stop before any system call and go on later. Numbers stand for inodes (0: none), operations and paths.
 */

export type Kind = "upload" | "delete" | "rename";

/** What never changes in a scenario. */
export interface Operation {
  readonly kind: Kind;
  readonly path: number;
  /** Where a rename leads. */
  readonly to?: number;
}

/** `.longshore/ops/<id>`: under its own name, fenced as `<id>.f`, set aside as `<id>.refused`, or not there. */
export interface Directory {
  at: "gone" | "plain" | "fenced" | "refused";
  data: number;
  /** What a delete or rename took from its path. */
  v: number;
  /** A rename found something: made before it is moved on, because afterwards nothing else shows it. */
  marked: boolean;
  /** What a refused rename is about to give back; and that it was, made before it is. */
  w: number;
  backed: boolean;
  /** The `owner` file: the actor that may hold `data` open for writing. */
  writer: number;
}

export type RecordState = "none" | "committed" | "refused" | "superseded";

/** A commit group on its way to the store. It may arrive at any time, or never. */
export interface Message {
  readonly actor: number;
  readonly group: number;
  readonly expect: number;
  readonly copy: number;
}

/** What the transaction answers: applied, or the keys that it compared. */
export interface Reply {
  readonly applied: boolean;
  readonly fence: number;
  readonly record: RecordState;
  /** The operation in the way, -1 for none. */
  readonly claim: number;
}

const stepNames = [
  "close",
  "send",
  "wait",
  "look",
  "place",
  "is-dir-there",
  "reread",
  "finish",
  "clean",
  "set-aside",
  "look-aside",
  "void",
  "detach",
  "fence",
  "is-v-there",
  "is-marked",
  "mark",
  "back",
  "unmark",
  "is-w-there",
  "is-backed",
  "mark-back",
  "return",
  "move",
  "find",
  "supersede",
  "seize",
  "copy",
  "swap",
  "end",
  "dead",
] as const;

export type Step = (typeof stepNames)[number];

export interface Actor {
  step: Step;
  /** Its own operation; -1 for a helper. */
  readonly own: number;
  /** The operation that it drives now: its own, or one that it helps. */
  target: number;
  /** Inode open for writing. */
  fd: number;
  /** Last group sent, and copies of it sent. */
  group: number;
  copy: number;
  /** Inode that a take-over copied into. */
  spare: number;
  /** The operation whose partial it takes over, -1 for none. */
  taken: number;
  /** What it read about its target: a delete or rename found something. */
  saw: boolean;
}

export interface World {
  /** Storage. */
  files: number[];
  dirs: Directory[];
  /** Inodes made so far. */
  inodes: number;
  /** The path at which something lies that no rename can replace; -1 for none. */
  blocked: number;
  /** The store. `fences`: last group applied per actor, -1 once its lease has ended. */
  records: RecordState[];
  claims: number[];
  fences: number[];
  wire: Message[];
  actors: Actor[];
  /** How often the surroundings may still interfere. */
  budget: { consume: number; block: number; unblock: number; expire: number; crash: number; discard: number };
  /** What really happened, which no process sees. */
  ghost: {
    /** The last operation per path in the order of transactions, -1 for none. */
    last: number[];
    commits: number[];
    /** The inode that an upload committed. */
    committed: number[];
    effect: ("none" | "placed" | "taken" | "moved")[];
    finished: boolean[];
    /** What became of an upload's file is settled: a later transaction or a consumer took it from its path. */
    gone: boolean[];
    told: ("nothing" | "ok" | "failed" | "unknown")[];
  };
}

export function clone(world: World): World {
  return {
    ...world,
    files: [...world.files],
    dirs: world.dirs.map((dir) => ({ ...dir })),
    records: [...world.records],
    claims: [...world.claims],
    fences: [...world.fences],
    wire: [...world.wire],
    actors: world.actors.map((actor) => ({ ...actor })),
    budget: { ...world.budget },
    ghost: {
      last: [...world.ghost.last],
      commits: [...world.ghost.commits],
      committed: [...world.ghost.committed],
      effect: [...world.ghost.effect],
      finished: [...world.ghost.finished],
      gone: [...world.ghost.gone],
      told: [...world.ghost.told],
    },
  };
}

export function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new Error(`the model has no ${index}`);
  return value;
}

/** The paths that an operation claims. */
export function pathsOf(operation: Operation): number[] {
  return operation.to === undefined ? [operation.path] : [operation.path, operation.to];
}

/** Whoever takes or replaces what lies at a path does so knowingly. */
export function settle(world: World, path: number): void {
  const upload = world.ghost.committed.indexOf(at(world.files, path));
  if (at(world.files, path) !== 0 && upload >= 0) world.ghost.gone[upload] = true;
}

/**
 * A system call is about to change a path on behalf of an operation. Invariants 1 and 2 of commit.md: it is the last one
 * in the path's order of transactions, and its claim is not released.
 */
export function touch(world: World, path: number, operation: number): void {
  if (at(world.ghost.last, path) !== operation)
    throw new Violation("the order of files differs from the order of transactions");
  if (at(world.claims, path) !== operation)
    throw new Violation("a system call succeeded after the claim of its operation was released");
  settle(world, path);
}

/** Small numbers to characters: keys are most of the work of a search, and text of digits costs several times more. */
const codeOf = (values: readonly number[]) => String.fromCharCode(...values);
const flag = (value: boolean) => (value ? 1 : 0);
const letter = (text: string) => text.charCodeAt(0);

/** Storage and store, and what really happened to them: all that outlives processes. Negative numbers are at least -1. */
export function lastingKey({ files, inodes, blocked, dirs, records, claims, fences, ghost }: World): string {
  const values = [inodes, blocked + 1];
  for (const file of files) values.push(file);
  for (const dir of dirs)
    values.push(letter(dir.at), dir.data, dir.v, flag(dir.marked), dir.w, flag(dir.backed), dir.writer);
  for (const record of records) values.push(letter(record));
  for (const claim of claims) values.push(claim + 1);
  for (const fence of fences) values.push(fence + 1);
  for (const last of ghost.last) values.push(last + 1);
  for (const count of ghost.commits) values.push(count);
  for (const inode of ghost.committed) values.push(inode);
  for (const effect of ghost.effect) values.push(letter(effect));
  for (const finished of ghost.finished) values.push(flag(finished));
  for (const gone of ghost.gone) values.push(flag(gone));
  for (const told of ghost.told) values.push(letter(told));
  return codeOf(values);
}

export function keyOf(world: World): string {
  const { budget } = world;
  const lasting = lastingKey(world);
  const values = [budget.consume, budget.block, budget.unblock, budget.expire, budget.crash, budget.discard];
  const helpers: string[] = [];
  for (const { step, own, target, fd, group, copy, spare, saw } of world.actors) {
    const each = [stepNames.indexOf(step), target + 1, fd, group, copy, spare, flag(saw)];
    if (own >= 0) values.push(...each);
    else helpers.push(codeOf(each));
  }
  // Helpers have nothing of their own: who is first makes no difference, and neither does the order on the wire.
  const wire = world.wire.map(({ actor, group, expect, copy }) => codeOf([actor, group, expect, copy]));
  return lasting + codeOf(values) + helpers.sort().join("") + wire.sort().join("");
}
