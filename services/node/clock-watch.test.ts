import assert from "node:assert/strict";
import { test } from "node:test";
import type { NodeRecord } from "#cluster/contract.js";
import type { Logger } from "#lib/logger.js";
import { watchOwnClock } from "./clock-watch.js";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

test("a clock that drifts past the tolerance is told once, though heartbeats' ages move the figure to and fro", () => {
  const told: string[] = [];
  let heard: (nodes: readonly NodeRecord[]) => void = () => {};
  const stop = watchOwnClock({
    members: {
      onChange(callback) {
        heard = callback;
        return () => {};
      },
    },
    id: "n0",
    name: "node-0",
    audit: { record: ({ outcome, details }) => void told.push(`${outcome} ${details?.offsetSeconds}`) },
    logger: silent,
  });
  const offBy = (ms: number) =>
    heard([ms, 0, 0].map((at, index) => ({ id: `n${index}`, name: `node-${index}`, at }) as NodeRecord));
  for (const ms of [0, 4_600, 5_300, 4_400, 5_200, 4_300, 5_400, 4_100]) offBy(ms);
  assert.deepEqual(told, ["failed 5"]);
  heard([{ id: "n1", name: "node-1", at: 0 } as NodeRecord]);
  assert.deepEqual(told, ["failed 5"], "its lease is over for a while: nothing is known");
  for (const ms of [2_000, 800, 1_900]) offBy(ms);
  assert.deepEqual(told, ["failed 5", "ok 2"]);
  stop();
});
