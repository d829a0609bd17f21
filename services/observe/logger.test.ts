import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { LongshoreError } from "#lib/errors.js";
import { createLogger, type LogLevel } from "./logger.js";

async function linesOf(level: LogLevel, say: (logger: ReturnType<typeof createLogger>) => void) {
  const stream = new PassThrough();
  let text = "";
  stream.on("data", (chunk) => {
    text += String(chunk);
  });
  const logger = createLogger({ node: "alpha", level, stream });
  say(logger);
  await logger.close();
  await logger.close();
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("each line is one JSON object with the node's name and the bound fields", async () => {
  const [line, ...rest] = await linesOf("info", (logger) => {
    logger.child({ session: "s1" }).child({ transfer: "t1" }).info("done", { bytes: 3 });
  });
  assert.equal(rest.length, 0);
  assert.ok(line);
  const { time, ...fields } = line;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  assert.deepEqual(fields, {
    level: "info",
    message: "done",
    node: "alpha",
    session: "s1",
    transfer: "t1",
    bytes: 3,
  });
});

test("lines below the level are left out", async () => {
  const lines = await linesOf("warn", (logger) => {
    logger.debug("a");
    logger.info("b");
    logger.warn("c");
    logger.error("d");
  });
  assert.deepEqual(
    lines.map((line) => line.message),
    ["c", "d"],
  );
});

test("a field can't forge the frame of a line, and a newline can't make two of one", async () => {
  const lines = await linesOf("info", (logger) => {
    logger.info("a\nb", { level: "error", message: "forged", node: "beta", time: 0 });
  });
  assert.equal(lines.length, 1);
  const [line] = lines;
  assert.ok(line);
  assert.equal(line.message, "a\nb");
  assert.equal(line.level, "info");
  assert.equal(line.node, "alpha");
  assert.equal(line.message_, "forged");
});

test("errors are written with code and cause; what can't be written doesn't throw", async () => {
  const loop: Record<string, unknown> = { big: 10n };
  loop.self = loop;
  const [line] = await linesOf("info", (logger) => {
    const error = new LongshoreError("no-space", "the storage is full", new Error("ENOSPC"));
    logger.error("upload failed", { error, loop });
  });
  assert.ok(line);
  const error = line.error as { code: string; message: string; cause: { message: string } };
  assert.equal(error.code, "no-space");
  assert.equal(error.cause.message, "ENOSPC");
  assert.deepEqual(line.loop, { big: "10", self: "[again]" });
});

test("closing waits for every line, and lines after it are dropped", async () => {
  const lines = await linesOf("info", (logger) => {
    for (let i = 0; i < 2_000; i++) logger.info(`line ${i}`);
  });
  assert.equal(lines.length, 2_000);
});
