import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { open, readKeyRing, seal } from "#lib/seal.js";
import { createLiveKeyRing } from "./live-key-ring.js";

const key = () => randomBytes(32).toString("base64");

test("keys are added, reordered and taken away while it runs; a damaged file changes nothing", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "longshore-ring-"));
  const path = join(directory, "key");
  const [one, two] = [key(), key()];
  const write = (text: string) => {
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };
  write(one);
  const said: string[] = [];
  const say = (message: string) => void said.push(message);
  const logger = { debug: say, info: say, warn: say, error: say, child: () => logger };
  const live = createLiveKeyRing(path, readKeyRing(one), logger);
  const { ring } = live;
  t.after(() => {
    live.stop();
    rmSync(directory, { recursive: true });
  });
  const awake = setInterval(() => {}, 1_000);
  t.after(() => clearInterval(awake));
  const changed = () => new Promise<void>((resolve) => live.onChange(resolve));

  const old = seal("secret", ring, "here");
  let next = changed();
  write(`${one}\n${two}\n`);
  await next;
  assert.deepEqual(
    ring.map(({ id }) => id),
    readKeyRing(`${one}\n${two}`).map(({ id }) => id),
  );
  assert.equal(seal("x", ring, "here").split(":")[1], ring[0].id);

  next = changed();
  write(`${two}\n${one}\n`);
  await next;
  assert.equal(ring[0].id, readKeyRing(two)[0].id);
  assert.equal(open(old, ring, "here").toString(), "secret");

  write("not a key");
  while (!said.some((line) => /can't be used/.test(line))) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(ring.length, 2);
});
