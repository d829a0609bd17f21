import type { Mutation, ScenarioKey } from "./mutations.js";
import { arrive, choices } from "./processes.js";
import { checkRecovered, checkState } from "./rules.js";
import { type Model, type Successor, Violation } from "./search.js";
import type { Rules } from "./steps.js";
import { expire } from "./store.js";
import { type Actor, at, clone, keyOf, lastingKey, type Operation, settle, type World } from "./world.js";

/** Small sites in which everything that can go wrong goes wrong, at each moment and in each order. */

export interface Scenario {
  readonly key: ScenarioKey;
  readonly name: string;
  readonly operations: readonly Operation[];
  /** What each owner does with the operation of the same number: its own upload, or the take-over of another's. */
  readonly takers?: Readonly<Record<number, number>>;
  /** Operations that a helper meets, one helper each. */
  readonly helpers: readonly number[];
  readonly wire?: boolean;
  /** A committed file lies at path 0 already. */
  readonly old?: boolean;
  /** Where a directory may appear. Default 0. */
  readonly blockAt?: number;
  readonly budget?: Partial<World["budget"]>;
  /** Actors whose leases may end and who may die. */
  readonly mortal?: readonly number[];
}

export const scenarios: readonly Scenario[] = [
  {
    key: "uploads",
    name: "two uploads and a delete of one path, each a helper of the others, and one more",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
      { kind: "delete", path: 0 },
    ],
    helpers: [2],
    old: true,
  },
  {
    key: "consumer",
    name: "an upload and a delete, three stale helpers, a consumer",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "delete", path: 0 },
    ],
    helpers: [0, 1, 1],
    old: true,
    budget: { consume: 1 },
  },
  {
    key: "rename",
    name: "a rename and an upload to either of its paths, a stale helper",
    operations: [
      { kind: "rename", path: 0, to: 1 },
      { kind: "upload", path: 0 },
      { kind: "upload", path: 1 },
    ],
    helpers: [0],
    old: true,
  },
  {
    key: "rename-refused",
    name: "a rename onto what it can't replace, for a while or for ever",
    operations: [
      { kind: "rename", path: 0, to: 1 },
      { kind: "upload", path: 0 },
    ],
    helpers: [0],
    old: true,
    blockAt: 1,
    budget: { block: 1, unblock: 1 },
  },
  {
    key: "wire",
    name: "answers lost and late, leases lost, two uploads",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
    ],
    helpers: [0],
    wire: true,
    budget: { expire: 1 },
    mortal: [0, 1],
  },
  {
    key: "refuse",
    name: "an upload that can't be placed, for a while or for ever",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
    ],
    helpers: [0, 0],
    budget: { block: 1, unblock: 1, discard: 1 },
  },
  {
    key: "take-over",
    name: "a partial taken over from a zombie that may be committing",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
    ],
    takers: { 1: 0 },
    helpers: [0],
    wire: true,
    old: true,
    budget: { expire: 1, crash: 1 },
    mortal: [0],
  },
  {
    key: "takers",
    name: "two takers of one partial",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
    ],
    takers: { 1: 0, 2: 0 },
    helpers: [],
    budget: { expire: 1 },
    mortal: [0],
  },
  {
    key: "chain",
    name: "a taker dies, and its partial is taken over in its turn",
    operations: [
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
      { kind: "upload", path: 0 },
    ],
    takers: { 1: 0, 2: 1 },
    helpers: [],
    budget: { expire: 2, crash: 1 },
    mortal: [0, 1],
  },
];

function start(scenario: Scenario): World {
  const { operations } = scenario;
  let inodes = scenario.old ? 1 : 0;
  const actor = (own: number, target: number, step: Actor["step"]): Actor => ({
    own,
    target,
    step,
    fd: 0,
    group: 0,
    copy: 0,
    spare: 0,
    taken: -1,
    saw: false,
  });
  const world: World = {
    files: [inodes, 0],
    dirs: [],
    inodes: 0,
    blocked: -1,
    records: operations.map(() => "none"),
    claims: [-1, -1],
    fences: operations.map(() => 0),
    wire: [],
    actors: [],
    budget: { consume: 0, block: 0, unblock: 0, expire: 0, crash: 0, discard: 0, ...scenario.budget },
    ghost: {
      last: [-1, -1],
      commits: operations.map(() => 0),
      committed: operations.map(() => 0),
      effect: operations.map(() => "none"),
      finished: operations.map(() => false),
      gone: operations.map(() => false),
      told: operations.map(() => "nothing"),
    },
  };
  // Who still writes matters only where somebody may take over.
  const writes = scenario.takers !== undefined;
  operations.forEach(({ kind }, id) => {
    const old = scenario.takers?.[id];
    const owner = actor(id, id, old !== undefined ? "find" : kind === "upload" && writes ? "close" : "send");
    world.dirs.push({
      at: old === undefined ? "plain" : "gone",
      data: 0,
      v: 0,
      marked: false,
      w: 0,
      backed: false,
      writer: id,
    });
    if (kind === "upload" && old === undefined) {
      inodes += 1;
      if (writes) owner.fd = inodes;
      at(world.dirs, id).data = inodes;
    }
    world.actors.push({ ...owner, taken: old ?? -1 });
  });
  for (const target of scenario.helpers) world.actors.push(actor(-1, target, "look"));
  return { ...world, inodes };
}

/** What networks, leases, operators and consumers do. */
function surroundings(world: World, rules: Rules, scenario: Scenario): Successor<World>[] {
  const list: Successor<World>[] = [];
  const may = (label: string, change: (made: World) => void) =>
    list.push({
      label,
      make() {
        const made = clone(world);
        change(made);
        return made;
      },
    });
  world.wire.forEach((message, index) => {
    may(`group ${message.group} of ${message.actor} arrives (copy ${message.copy})`, (made) => {
      arrive(made, index, rules);
    });
  });
  const { budget } = world;
  if (budget.consume > 0 && at(world.files, 0) !== 0)
    may("a consumer removes the file", (made) => {
      made.budget.consume -= 1;
      settle(made, 0);
      made.files[0] = 0;
    });
  const place = scenario.blockAt ?? 0;
  if (budget.block > 0 && at(world.files, place) === 0)
    may("a directory appears at the path", (made) => {
      made.budget.block -= 1;
      made.blocked = place;
    });
  if (budget.unblock > 0 && world.blocked >= 0)
    may("the directory is gone", (made) => {
      made.budget.unblock -= 1;
      made.blocked = -1;
    });
  world.dirs.forEach((dir, id) => {
    if (budget.discard === 0 || dir.at !== "refused" || dir.data === 0 || at(world.records, id) === "committed") return;
    may("the account throws its refused partial away", (made) => {
      made.budget.discard -= 1;
      Object.assign(at(made.dirs, id), { at: "gone", data: 0 });
      made.ghost.gone[id] = true;
    });
  });
  for (const actor of scenario.mortal ?? []) {
    if (budget.expire > 0 && at(world.fences, actor) >= 0)
      may(`the lease of ${actor} ends`, (made) => {
        made.budget.expire -= 1;
        expire(made, actor);
      });
    const { step } = at(world.actors, actor);
    if (budget.crash > 0 && step !== "dead" && step !== "end")
      may(`${actor} dies`, (made) => {
        made.budget.crash -= 1;
        Object.assign(at(made.actors, actor), { step: "dead", fd: 0 });
      });
  }
  return list;
}

/** All processes are gone; whoever comes next recovers. Must end well from every state. */
function recover(world: World, rules: Rules): World {
  const made = clone(world);
  for (const actor of made.actors) Object.assign(actor, { step: "dead", fd: 0 });
  let last = made;
  rules.operations.forEach((_, id) => {
    if (at(last.records, id) !== "committed") return;
    const helper: Actor = { ...at(made.actors, 0), own: -1, target: id, taken: -1, step: "look", saw: false };
    last = { ...last, actors: [...made.actors, helper] };
    for (let steps = 0; ; steps += 1) {
      const [choice] = choices(last, made.actors.length, rules);
      if (choice === undefined) break;
      if (steps > 50) throw new Violation("recovery doesn't end");
      last = choice.make();
    }
  });
  return last;
}

export function modelOf(scenario: Scenario, mutation?: Mutation): Model<World> {
  const rules: Rules = { operations: scenario.operations, wire: scenario.wire ?? false, mutation };
  /** Recovery sees only storage and store, and many states share those. */
  const recovered = new Set<string>();
  return {
    initial: start(scenario),
    key: keyOf,
    next: (world) => [
      ...world.actors.flatMap((actor, index) =>
        choices(world, index, rules).map(({ label, make }) => ({
          label: `${actor.own < 0 ? `helper ${index} of ${actor.target}` : `owner ${index}`}: ${label}`,
          make,
        })),
      ),
      ...surroundings(world, rules, scenario),
    ],
    check(world) {
      checkState(world, scenario.operations);
      const key = lastingKey(world);
      if (recovered.has(key)) return;
      checkRecovered(recover(world, rules), scenario.operations);
      recovered.add(key);
    },
  };
}
