import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "#lib/testing.js";
import { which } from "../support/packages.js";
import { keepAwake } from "./fixture.js";
import { type Node, Site } from "./node-process.js";

const CLI = fileURLToPath(new URL("../../services/cli/main.js", import.meta.url));

let site: Site;
let node: Node;
let where: string[];

keepAwake();
before(async () => {
  site = new Site((directory) => ({ kind: "embedded", directory: join(directory, "store") }));
  node = await site.node("solo", 1);
  await node.ready();
  // What nodes say of themselves is listed twice a second.
  await until("it is among the nodes, ready", async () => {
    const { nodes } = (await node.ask("/api/v1/nodes")).body as { nodes: { name: string; state: string }[] };
    return nodes.some(({ name, state }) => name === "solo" && state === "ready");
  });
  where = ["--url", node.url, "--token-file", join(site.directory, "token")];
});
after(async () => {
  await node?.process.kill();
  site.remove();
});

/** A `status --watch`, whose output grows until it is told to end. */
function watching(...more: string[]) {
  const child = spawn(process.execPath, [CLI, "status", "--watch", "1", ...where, ...more], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const seen = { text: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    seen.text += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  return { child, seen, ended };
}

test("status shows the site on one screen", () => {
  const { stdout, status } = spawnSync(process.execPath, [CLI, "status", ...where], { encoding: "utf8" });
  assert.equal(status, 0);
  assert.match(stdout, /^1 node, 1 ready, 0 sessions, 0 transfers, 0 B\/s; asked solo \(ready\)/);
  assert.match(stdout, /^solo +ready +(?:member|coordinator) +\d+ +- +0 +0 /m);
  assert.match(stdout, /^no faults$/m);
});

test("--watch goes on through a fault and a node's death, and Ctrl-C ends it with 0", async () => {
  const { child, seen, ended } = watching();
  await until("two looks", () => seen.text.split("asked solo (ready)").length > 2, { deadlineMs: 10_000 });
  assert.ok(!seen.text.includes("\u001b"), "control characters into a pipe");
  await node.ask("/api/v1/nodes/solo/drain", { method: "POST" });
  await until("the fault", () => /faults:\n {2}solo: draining/.test(seen.text), { deadlineMs: 10_000 });
  await node.ask("/api/v1/nodes/solo/undrain", { method: "POST" });
  await node.process.kill();
  await until("nobody answers", () => /the admin API doesn't answer/.test(seen.text), { deadlineMs: 10_000 });
  node.launch();
  await node.ready();
  const before = seen.text.length;
  await until("it is back", () => /asked solo \(ready\)/.test(seen.text.slice(before)), { deadlineMs: 10_000 });
  child.kill("SIGINT");
  assert.equal(await ended, 0);
});

test("with -o json each look is one line", async () => {
  const { child, seen, ended } = watching("-o", "json");
  await until("two looks", () => seen.text.split("\n").length > 2, { deadlineMs: 10_000 });
  child.kill("SIGTERM");
  assert.equal(await ended, 0);
  for (const line of seen.text.trimEnd().split("\n")) {
    assert.equal((JSON.parse(line) as { node: { name: string } }).node.name, "solo");
  }
});

test("a terminal is redrawn in place, a dumb one isn't", { skip: which("script") === undefined }, async () => {
  for (const [term, redrawn] of [
    ["xterm", true],
    ["dumb", false],
  ] as const) {
    const command = [process.execPath, CLI, "status", "--watch", "1", ...where].join(" ");
    const child = spawn("timeout", ["-s", "INT", "4", "script", "-qefc", command, "/dev/null"], {
      env: { ...process.env, TERM: term },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await until(`two looks on ${term}`, () => text.split("asked solo").length > 2, { deadlineMs: 10_000 });
    assert.equal(text.includes("\u001b[H"), redrawn, term);
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("exit", resolve));
  }
});
