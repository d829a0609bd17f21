import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { folderNames, folderRole, placeOf } from "./folders.js";
import { isWithin, VirtualPath } from "./virtual-path.js";

const layout = (...folders: readonly (readonly [path: string, target: string])[]) => ({
  home: "home",
  folders: folders.map(([path, target]) => ({ path, target })),
});
const at = (path: string) => VirtualPath.parse(path);
const found = (of: ReturnType<typeof layout>, path: string) => {
  const { base, parts } = placeOf(of, at(path));
  return [base, ...parts].join("/");
};

test("a path below a folder is in its target, any other one in the home", () => {
  const of = layout(["/a", "x"], ["/a/b", "y"]);
  assert.equal(found(of, "/a"), "x");
  assert.equal(found(of, "/a/c/d"), "x/c/d");
  assert.equal(found(of, "/a/b"), "y");
  assert.equal(found(of, "/a/b/c"), "y/c");
  assert.equal(found(of, "/"), "home");
  assert.equal(found(of, "/c"), "home/c");
});

test("a name that only starts like a folder's isn't in it", () => {
  const of = layout(["/a", "x"]);
  assert.equal(found(of, "/ab"), "home/ab");
  assert.equal(found(of, "/ab/c"), "home/ab/c");
  assert.equal(found(of, "/A"), "home/A");
  assert.equal(folderRole(layout(["/a/bc", "x"]), at("/a/b")), undefined);
});

test("dots are gone before anything is looked up: they neither leave a folder for its surroundings nor enter another", () => {
  const of = layout(["/a", "x"], ["/b", "y"]);
  assert.equal(found(of, "/a/../b/f"), "y/f");
  assert.equal(found(of, "/a/.."), "home");
  assert.equal(found(of, "/a/../../.."), "home");
  assert.equal(found(of, "//a/./f"), "x/f");
  assert.equal(found(of, "/a/c/../../f"), "home/f");
});

test("what is a folder, or above one, is fixed; the root counts by itself", () => {
  const of = layout(["/a/b/c", "x"]);
  assert.deepEqual(
    ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/x"].map((path) => folderRole(of, at(path))),
    [undefined, "above", "above", "mount", undefined, undefined],
  );
});

test("a listing shows the next name on the way to each folder below", () => {
  const of = layout(["/a/b", "x"], ["/a/c/d", "y"], ["/e", "z"]);
  assert.deepEqual([...folderNames(of, at("/"))].sort(), ["a", "e"]);
  assert.deepEqual([...folderNames(of, at("/a"))].sort(), ["b", "c"]);
  assert.deepEqual([...folderNames(of, at("/a/b"))], []);
  assert.deepEqual([...folderNames(of, at("/ab"))], []);
});

test("any path: its place is at or below one base, and that base is the innermost folder's", () => {
  const part = fc.constantFrom("a", "b", "ab", "..", ".", "", "c");
  const path = fc.array(part, { maxLength: 7 }).map((parts) => `/${parts.join("/")}`);
  const mount = fc
    .array(fc.constantFrom("a", "b", "ab"), { minLength: 1, maxLength: 3 })
    .map((parts) => `/${parts.join("/")}`);
  fc.assert(
    fc.property(fc.uniqueArray(mount, { maxLength: 5 }), path, (mounts, asked) => {
      const of = layout(...mounts.map((each, index) => [each, `t${index}`] as const));
      const normal = at(asked);
      const place = placeOf(of, normal);
      assert.ok(place.parts.every((name) => name !== ".." && name !== "." && name !== ""));
      assert.equal(VirtualPath.of([...place.mount, ...place.parts]).toString(), normal.toString());
      const holding = mounts.filter((each) => isWithin(normal.toString(), each)).sort((a, b) => b.length - a.length);
      assert.equal(place.base, holding[0] === undefined ? "home" : `t${mounts.indexOf(holding[0])}`);
    }),
    { numRuns: 1_000 },
  );
});
