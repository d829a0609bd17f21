import assert from "node:assert/strict";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import type { NodeState } from "#cluster/contract.js";
import { agentAnswer, createAgent } from "./agent.js";

test("draining and cut-off nodes ask for no new sessions; life and death are the health check's to say", () => {
  for (const state of ["draining", "cut-off"] as const) assert.equal(agentAnswer(state), "drain\n");
  for (const state of ["joining", "ready"] as const) assert.equal(agentAnswer(state), "ready up\n");
});

test("each question gets the state of the moment, one line, and the end", async (t) => {
  let state: NodeState = "ready";
  const agent = createAgent({ host: "127.0.0.1", port: 0, state: () => state });
  t.after(() => agent.close());
  const port = await agent.listen();
  assert.equal(await text(connect(port, "127.0.0.1")), "ready up\n");
  state = "draining";
  const asking = connect(port, "127.0.0.1");
  asking.write("a question that nobody asked for\n");
  assert.equal(await text(asking), "drain\n");
});

test("a port that is taken is said with the setting to change", async (t) => {
  const first = createAgent({ host: "127.0.0.1", port: 0, state: () => "ready" });
  t.after(() => first.close());
  const port = await first.listen();
  const second = createAgent({ host: "127.0.0.1", port, state: () => "ready" });
  await assert.rejects(second.listen(), /agent: port \d+ is taken.*"agent"/);
  await second.close();
});
