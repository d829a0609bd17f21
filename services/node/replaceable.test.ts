import assert from "node:assert/strict";
import { test } from "node:test";
import { createReplaceable } from "./replaceable.js";

test("a stop beside a suspension waits for the suspended one's last commits, and for the one that came after", async () => {
  const ends: (() => void)[] = [];
  const servers = createReplaceable(
    () => ({ close: () => new Promise<void>((resolve) => void ends.push(resolve)) }),
    60_000,
  );
  const heard: string[] = [];
  const suspended = servers.end("cut off").then(() => heard.push("suspended"));
  servers.begin();
  const stopped = servers.end("stopping").then(() => heard.push("stopped"));
  const again = servers.end("stopping").then(() => heard.push("stopped again"));
  assert.equal(servers.current, undefined);
  assert.equal(ends.length, 2);
  ends[1]?.();
  await new Promise(setImmediate);
  assert.deepEqual(heard, []);
  ends[0]?.();
  await Promise.all([suspended, stopped, again]);
  assert.deepEqual(heard.sort(), ["stopped", "stopped again", "suspended"]);
});

test("an end that takes too long isn't waited for", async () => {
  const servers = createReplaceable(() => ({ close: () => new Promise<void>(() => {}) }), 20);
  const alive = setTimeout(() => {}, 5_000);
  await servers.end("stopping");
  clearTimeout(alive);
});
