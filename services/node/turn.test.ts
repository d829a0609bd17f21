import assert from "node:assert/strict";
import { test } from "node:test";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import { createTurnKeeper, decideTurn, type TurnSituation } from "./turn.js";

const active: TurnSituation = {
  role: "active",
  leaving: undefined,
  passiveMs: 0,
  doubtful: false,
  successorReady: false,
  sessions: 3,
  quietMs: 0,
  drainMs: 3_600_000,
  cutOffMs: 0,
  graceMs: 60_000,
};
/** Switched to another node some seconds ago, which is ready; a transfer runs. */
const former: TurnSituation = {
  ...active,
  role: "passive",
  leaving: "planned",
  passiveMs: 5_000,
  successorReady: true,
};

const table: readonly (readonly [string, TurnSituation, takes: boolean, serves: boolean, ends: boolean])[] = [
  ["the active one", active, true, true, false],
  ["one of many, active-active", { ...active, role: "shared" }, true, true, false],
  ["cut off within the grace, as in active-active", { ...active, cutOffMs: 60_000 }, true, true, false],
  ["cut off past the grace", { ...active, cutOffMs: 60_001 }, false, false, true],
  ["woken after a sleep, the store not heard yet", { ...active, doubtful: true }, false, false, false],
  ["never active", { ...former, leaving: undefined, sessions: 0 }, false, false, true],
  ["switched a moment ago: the balancer may not know", { ...former, passiveMs: 500 }, true, true, false],
  ["switched, the new one isn't ready yet", { ...former, successorReady: false }, true, true, false],
  [
    "switched, the new one never gets ready",
    { ...former, passiveMs: 10_000, successorReady: false },
    false,
    true,
    false,
  ],
  ["switched, transfers run", former, false, true, false],
  ["switched, nothing has moved for seconds", { ...former, quietMs: 5_000 }, false, false, true],
  ["switched, no session is left", { ...former, sessions: 0 }, false, false, true],
  ["switched, past the drain limit", { ...former, passiveMs: 3_600_000 }, false, false, true],
  [
    "was cut off, another took over: its transfers end",
    { ...former, leaving: "lost", passiveMs: 0 },
    false,
    true,
    false,
  ],
  ["stood still, another took over", { ...former, leaving: "woken", passiveMs: 0 }, false, false, true],
  ["passive and cut off", { ...former, leaving: undefined, cutOffMs: 5_000 }, false, false, true],
];
for (const [what, situation, takes, serves, ends] of table) {
  test(`${what}: takes ${takes}, serves ${serves}, sessions ${ends ? "end" : "go on"}`, () => {
    const turn = decideTurn(situation);
    assert.deepEqual([turn.takes, turn.serves, turn.end !== undefined], [takes, serves, ends]);
  });
}

test("sessions are ended once, and taken again when it is this node's turn", async () => {
  const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
  const done: string[] = [];
  const path = {
    sessions: 0,
    transfers: 0,
    suspend: async () => void done.push("suspend"),
    resume: () => void done.push("resume"),
  };
  let situation: TurnSituation = { ...former, leaving: undefined };
  const keeper = createTurnKeeper({ path, situation: () => situation, logger: silent });
  keeper.start();
  assert.deepEqual(done, ["suspend"], "before anybody can connect");
  keeper.check();
  situation = active;
  keeper.check();
  keeper.check();
  situation = { ...former, sessions: 0 };
  keeper.check();
  keeper.stop();
  await pause(0);
  assert.deepEqual(done, ["suspend", "resume", "suspend"]);
});
