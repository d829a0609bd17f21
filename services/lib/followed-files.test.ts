import assert from "node:assert/strict";
import { test } from "node:test";
import { followFiles } from "./followed-files.js";

test("a change is told once, a fault once until the files can be used again", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const heard: string[] = [];
  let content = "A";
  const read = () => {
    if (content === "unreadable") throw new Error(content);
    return content;
  };
  const stop = followFiles({
    first: "A",
    read,
    same: (one, other) => one === other,
    renewed(next) {
      if (next === "unusable") throw new Error(next);
      heard.push(next);
    },
    refused: (error) => heard.push(String(error)),
  });
  for (const next of ["A", "unreadable", "unreadable", "unusable", "A", "unusable", "unusable", "B", "B", "A"]) {
    content = next;
    t.mock.timers.tick(1_000);
  }
  assert.deepEqual(heard, ["Error: unreadable", "Error: unusable", "B", "A"]);
  stop();
  content = "C";
  t.mock.timers.tick(1_000);
  assert.equal(heard.length, 4);
});
