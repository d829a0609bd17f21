import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { ServerChannel } from "ssh2";
import { STATUS_BYTES } from "./encode.js";
import { Meter } from "./meter.js";
import { Replies } from "./replies.js";

/** When replies go out: joined while others are on their way, at once where none is. */

function repliesOn(writes: number[]): Replies {
  const channel = { writable: true, writableLength: 0, write: (bytes: Buffer) => writes.push(bytes.length) };
  const socket = { writableLength: 0, cork: () => {}, uncork: () => {} };
  return new Replies({
    channel: channel as unknown as ServerChannel,
    socket: socket as unknown as Socket,
    raw: undefined,
    meter: new Meter({ batch: () => {} }),
    onProgress: () => {},
  });
}

const callbackEnds = () => new Promise<void>((resolve) => queueMicrotask(resolve));
const turnEnds = () => new Promise<void>((resolve) => setImmediate(resolve));

test("the only answer that is waited for goes out at the end of the callback", async () => {
  const writes: number[] = [];
  const replies = repliesOn(writes);
  replies.expect();
  replies.ok(1);
  assert.deepEqual(writes, [], "the caller may have more");
  await callbackEnds();
  assert.deepEqual(writes, [STATUS_BYTES]);
  assert.ok(replies.done);
});

test("answers of one callback are joined, and those of one turn while others are on their way", async () => {
  const writes: number[] = [];
  const replies = repliesOn(writes);
  for (let id = 0; id < 4; id += 1) replies.expect();
  replies.ok(0);
  await callbackEnds();
  replies.ok(1);
  await callbackEnds();
  assert.deepEqual(writes, [], "two are on their way");
  await turnEnds();
  assert.deepEqual(writes, [2 * STATUS_BYTES]);
  replies.ok(2);
  replies.ok(3);
  await callbackEnds();
  assert.deepEqual(writes, [2 * STATUS_BYTES, 2 * STATUS_BYTES]);
  await turnEnds();
  assert.deepEqual(writes, [2 * STATUS_BYTES, 2 * STATUS_BYTES], "nothing goes out twice");
});
