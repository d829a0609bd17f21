import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FailureHistory } from "./history.js";

const WINDOW = 600_000;
const START = 1_700_000_000_000;

test("property: the count is never lower than the failures of the window, nor higher than those of a window a tenth longer", () => {
  const step = fc.record({ source: fc.constantFrom("a", "b", "c"), after: fc.integer({ min: 0, max: 120_000 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 0, max: 1_500_000 }), (steps, later) => {
      const history = new FailureHistory(100);
      const failures: { source: string; at: number }[] = [];
      let now = START;
      for (const { source, after } of steps) {
        now += after;
        history.add(source, now, WINDOW);
        failures.push({ source, at: now });
      }
      now += later;
      for (const source of ["a", "b", "c"]) {
        const within = (ms: number) => failures.filter((one) => one.source === source && now - one.at < ms).length;
        const counted = history.count(source, now, WINDOW);
        assert.ok(counted >= within(WINDOW), `${counted} of ${within(WINDOW)}`);
        assert.ok(counted <= within(WINDOW * 1.1 + 1), `${counted} of ${within(WINDOW * 1.1 + 1)}`);
      }
    }),
  );
});

test("property: what is told and merged elsewhere counts the same there", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom("a", "b"), fc.integer({ min: 0, max: 90_000 }))), (steps) => {
      const one = new FailureHistory(100);
      let now = START;
      for (const [source, after] of steps) {
        now += after;
        one.add(source, now, WINDOW);
      }
      const other = new FailureHistory(100);
      other.merge(JSON.parse(JSON.stringify(one.top(100, now, WINDOW))) as ReturnType<typeof one.top>);
      for (const source of ["a", "b"]) assert.equal(other.count(source, now, WINDOW), one.count(source, now, WINDOW));
    }),
  );
});

test("a flood of new sources doesn't push out the one that counts, and the memory stays bounded", () => {
  const history = new FailureHistory(1_000);
  for (let i = 0; i < 15; i++) history.add("guilty", START, WINDOW);
  for (let i = 0; i < 50_000; i++) history.add(`name-${i}`, START + i, WINDOW);
  assert.equal(history.count("guilty", START + 50_000, WINDOW), 15);
  assert.ok(history.size <= 1_000);
  assert.equal(history.top(10, START + 50_000, WINDOW)[0]?.[0], "guilty");
  assert.equal(history.top(10, START + 50_000, WINDOW).length, 10);
});

test("what is old enough leaves", () => {
  const history = new FailureHistory(10);
  history.add("a", START, WINDOW);
  assert.equal(history.count("a", START + WINDOW - 1, WINDOW), 1);
  assert.equal(history.count("a", START + 1.2 * WINDOW, WINDOW), 0);
  assert.deepEqual(history.top(10, START + 1.2 * WINDOW, WINDOW), []);
  assert.equal(history.size, 0);
});
