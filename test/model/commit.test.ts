import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Mutation, mutations } from "./mutations.js";
import { modelOf, scenarios } from "./scenarios.js";
import { search } from "./search.js";

/**
 * The commit protocol as a state model: every order of every system call and transaction in small sites, and from each
 * state the recovery of whoever comes after all are dead. Extend it when the protocol changes (commit.md).
 */

describe("the commit protocol, in every order of its steps", () => {
  let total = 0;
  for (const scenario of scenarios)
    test(scenario.name, (t) => {
      const { states, violation } = search(modelOf(scenario));
      total += states;
      t.diagnostic(`${states} states: ${scenario.key}`);
      assert.equal(violation && [violation.rule, ...violation.trace].join("\n  "), undefined);
      assert.ok(states > 1000, "so few states mean that the scenario stops early");
    });

  test("recovery from each of these states ends well, too", (t) => {
    t.diagnostic(`${total} states in all; ${Object.keys(mutations).length} mutations to catch`);
    assert.ok(total > 100_000);
  });
});

describe("the model catches each way to get the protocol wrong", () => {
  for (const [mutation, { shownBy, wrong }] of Object.entries(mutations))
    test(`${mutation}: ${wrong}`, () => {
      const scenario = scenarios.find(({ key }) => key === shownBy);
      assert.ok(scenario);
      const { violation } = search(modelOf(scenario, mutation as Mutation));
      assert.ok(violation, "no harm was found: the model is blind to this");
    });
});
