import assert from "node:assert/strict";
import { test } from "node:test";
import { isCode } from "./errors.js";
import { Semaphore } from "./semaphore.js";

function gate(): { readonly promise: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const promise = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { promise, open };
}

test("work beyond the permits waits, in order, and work beyond the queue is refused at once", async () => {
  const semaphore = new Semaphore(2, 2);
  const gates = [gate(), gate(), gate(), gate()];
  const started: number[] = [];
  const all = gates.map(({ promise }, index) =>
    semaphore.run(async () => {
      started.push(index);
      await promise;
      return index;
    }),
  );
  await assert.rejects(
    semaphore.run(async () => 4),
    (error) => isCode(error, "busy"),
  );
  assert.deepEqual(started, [0, 1]);
  assert.equal(semaphore.waiting, 2);
  gates[1]?.open();
  assert.equal(await all[1], 1);
  await Promise.resolve();
  assert.deepEqual(started, [0, 1, 2]);
  for (const { open } of gates) open();
  assert.deepEqual(await Promise.all(all), [0, 1, 2, 3]);
});

test("failed work gives its permit back", async () => {
  const semaphore = new Semaphore(1, 0);
  await assert.rejects(
    semaphore.run(() => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.equal(await semaphore.run(async () => "yes"), "yes");
});
