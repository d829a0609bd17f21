import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EXIT } from "../errors.js";
import type { SiteFile } from "../up/site-file.js";
import { type Journal, type Mode, type MoveSituation, planMove, type Step } from "./plan.js";

const standalone: SiteFile = { version: 1, site: "local", mode: "standalone", basePort: 4000, nodes: 1, tls: false };
const cluster: SiteFile = { ...standalone, mode: "cluster", nodes: 3 };

function situation(change: Partial<MoveSituation>): MoveSituation {
  return {
    to: "cluster",
    file: standalone,
    journal: undefined,
    running: true,
    stores: { cluster: false, standalone: true },
    ...change,
  };
}

function refusal(change: Partial<MoveSituation>): number | undefined {
  const plan = planMove(situation(change));
  return plan.kind === "refused" ? plan.exitCode : undefined;
}

describe("preconditions", () => {
  test("there must be a site, with its store, and no other store where the new one comes", () => {
    assert.equal(refusal({ file: undefined }), EXIT.notFound);
    assert.equal(refusal({ stores: { cluster: false, standalone: false } }), EXIT.failed);
    assert.equal(refusal({ stores: { cluster: true, standalone: true } }), EXIT.conflict);
    assert.equal(
      refusal({ to: "standalone", file: cluster, stores: { cluster: true, standalone: false }, nodes: 2 }),
      EXIT.usage,
    );
    assert.equal(refusal({}), undefined);
  });

  test("one thing at a time: an unfinished promote is finished before a demote begins", () => {
    const journal: Journal = { version: 1, to: "cluster", nodes: 3, start: true };
    assert.equal(refusal({ to: "standalone", file: cluster, journal }), EXIT.conflict);
  });

  test("a site that is in that mode already needs nothing", () => {
    assert.equal(planMove(situation({ file: cluster })).kind, "done");
  });

  test("the ports, the name and so the partners' address stay; the number of nodes is as asked for", () => {
    const plan = planMove(situation({ nodes: 5 }));
    assert.ok(plan.kind === "go");
    assert.deepEqual(plan.after, { ...cluster, nodes: 5 });
    assert.equal(plan.journal.start, true);
    assert.ok(!planMoveSteps(situation({ running: false })).includes("start"), "what didn't run isn't started");
  });
});

function planMoveSteps(of: MoveSituation): readonly Step[] {
  const plan = planMove(of);
  assert.ok(plan.kind === "go");
  return plan.steps;
}

/** What lies on the disk; `whole` says whether a store holds everything. */
interface World {
  file: SiteFile;
  journal: Journal | undefined;
  running: boolean;
  stores: Record<Mode, "none" | "half" | "whole" | "aside">;
}

const there = (state: string) => state === "half" || state === "whole";

/** One step; `half`: it dies in the middle. */
function act(world: World, step: Step, plan: { journal: Journal; after: SiteFile }, half: boolean): void {
  const to = plan.after.mode;
  const from = to === "cluster" ? "standalone" : "cluster";
  if (step === "copy") {
    assert.equal(world.stores[from], "whole", "the source is whole when it is read");
    assert.equal(world.running, false, "nobody writes meanwhile");
    world.stores[to] = half ? "half" : "whole";
  } else if (half) return;
  else if (step === "note") world.journal = plan.journal;
  else if (step === "stop") world.running = false;
  else if (step === "switch") world.file = plan.after;
  else if (step === "retire") {
    if (there(world.stores[from])) world.stores[from] = "aside";
  } else if (step === "forget") world.journal = undefined;
  else world.running = true;
}

describe("whatever dies where", () => {
  const worldOf = (mode: Mode): World => ({
    file: mode === "cluster" ? cluster : standalone,
    journal: undefined,
    running: true,
    stores: { cluster: mode === "cluster" ? "whole" : "none", standalone: mode === "cluster" ? "none" : "whole" },
  });
  const look = (world: World, to: Mode) =>
    planMove({
      to,
      file: world.file,
      journal: world.journal,
      running: world.running,
      stores: { cluster: there(world.stores.cluster), standalone: there(world.stores.standalone) },
    });

  for (const to of ["cluster", "standalone"] as const) {
    test(`to ${to}: the store that counts is always whole, and the command given again ends it`, () => {
      let deaths = 0;
      // Every sequence of deaths: at step `first`, then at step `second` of what goes on from there.
      for (let first = 0; first < 7; first++) {
        for (let second = 0; second < 8; second++) {
          for (const upBetween of [false, true]) {
            const world = worldOf(to === "cluster" ? "standalone" : "cluster");
            for (const diesAt of [first, second, 99]) {
              const plan = look(world, to);
              if (plan.kind === "done") break;
              assert.ok(plan.kind === "go", JSON.stringify(plan));
              for (const [at, step] of plan.steps.entries()) {
                act(world, step, plan, at === diesAt);
                assert.equal(world.stores[world.file.mode], "whole", `after ${step}`);
                if (at === diesAt) break;
              }
              if (diesAt !== 99) deaths++;
              // Somebody starts the site in between: it runs on the store that counts.
              if (upBetween) world.running = true;
            }
            assert.equal(world.file.mode, to);
            assert.equal(world.journal, undefined);
            assert.equal(world.stores[to], "whole");
            assert.ok(world.running || !upBetween, "it was running, and runs again");
          }
        }
      }
      assert.ok(deaths > 100);
    });
  }
});
