import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { LongshoreError } from "#lib/errors.js";
import { VirtualPath } from "#sessions/virtual-path.js";
import { createPosixStore } from "#storage/posix/store.js";

/** Parts that paths are made of: what climbs, what hides, what is there, and anything at all. */
const part = fc.oneof(
  fc.constantFrom(
    "",
    ".",
    "..",
    "...",
    "a",
    "b",
    "in",
    "up",
    "out",
    "loop",
    "abs",
    "deep",
    ".longshore",
    "home",
    "~",
    "\0",
  ),
  fc.string({ unit: "binary", maxLength: 12 }),
);
const path = fc
  .tuple(fc.boolean(), fc.array(part, { maxLength: 12 }))
  .map(([absolute, parts]) => (absolute ? "/" : "") + parts.join("/"));

const REFUSALS = new Set(["invalid-argument", "name-too-long"]);

test("whatever a client names, the parts are plain names, and naming them again changes nothing", () => {
  fc.assert(
    fc.property(path, (text) => {
      let parsed: VirtualPath;
      try {
        parsed = VirtualPath.parse(text);
      } catch (error) {
        assert.ok(error instanceof LongshoreError && REFUSALS.has(error.code), String(error));
        return;
      }
      for (const each of parsed.parts) {
        assert.ok(each !== "" && each !== "." && each !== ".." && !/[/\0]/.test(each), JSON.stringify(each));
      }
      assert.deepEqual(VirtualPath.parse(parsed.toString()).parts, parsed.parts);
    }),
    { numRuns: 5_000 },
  );
});

test("no path leads out of the home or into the store's own area, whatever links an administrator left there", async () => {
  const top = realpathSync(mkdtempSync(join(tmpdir(), "longshore-paths-")));
  after(() => rmSync(top, { recursive: true, force: true }));
  const root = join(top, "root");
  for (const directory of ["root/home/a/b", "root/home/in", "root/neighbour", "outside/b"]) {
    mkdirSync(join(top, directory), { recursive: true });
  }
  for (const file of ["root/neighbour/a", "outside/a", "outside/b/a", "root/home/in/a"])
    writeFileSync(join(top, file), "");
  const links: [string, string][] = [
    ["../neighbour", "root/home/up"],
    ["../../outside", "root/home/out"],
    [join(top, "outside"), "root/home/abs"],
    ["loop", "root/home/loop"],
    ["a/b", "root/home/deep"],
    ["../../up", "root/home/a/b/up"],
    ["../.longshore", "root/home/.longshore"],
    ["../../in", "root/home/a/in"],
    ["/", "root/home/in/abs"],
    ["../../home", "root/home/in/home"],
  ];
  const siteId = randomUUID();
  for (const [target, link] of links) symlinkSync(target, join(top, link));
  for (const local of [true, false]) {
    const store = await createPosixStore({ root, local, siteId, initialize: true });
    await fc.assert(
      fc.asyncProperty(path, fc.boolean(), async (text, follow) => {
        let physical: string;
        try {
          physical = await store.resolve("home", VirtualPath.parse(text).parts, follow);
        } catch (error) {
          assert.ok(error instanceof LongshoreError, String(error));
          assert.ok(!error.message.includes(top), "a server path in a message");
          return;
        }
        assert.ok(physical === "home" || physical.startsWith("home/"), physical);
        // where it exists, the system agrees that it lies inside (a link itself may be named, not followed)
        const parent = realpathSync(join(root, physical, physical === "home" ? "." : ".."));
        assert.ok(`${parent}/`.startsWith(`${join(root, "home")}/`), parent);
      }),
      { numRuns: 3_000 },
    );
  }
});
