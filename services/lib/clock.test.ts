import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { after, test } from "node:test";
import { monotonicMs, pause } from "./clock.js";

const awake = setInterval(() => {}, 1_000);
after(() => clearInterval(awake));

test("a pause ends with the first of its signals, and leaves nothing with the others", async () => {
  const [life, nap] = [new AbortController(), new AbortController()];
  const began = monotonicMs();
  const waits = [pause(60_000, life.signal, nap.signal), pause(60_000, undefined, nap.signal)];
  nap.abort();
  await Promise.all(waits);
  await pause(60_000, life.signal, nap.signal);
  await pause(1, life.signal);
  assert.ok(monotonicMs() - began < 10_000);
  assert.equal(getEventListeners(life.signal, "abort").length, 0);
});
