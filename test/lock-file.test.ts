import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

interface Locked {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

test("the lock file has an entry for every package that a locked one names, other platforms' included", () => {
  // npm 11 refuses `npm ci` without them, and `npm install` leaves out what a partial mirror doesn't serve
  const lock = JSON.parse(
    readFileSync(join(new URL("../..", import.meta.url).pathname, "package-lock.json"), "utf8"),
  ) as {
    packages: Readonly<Record<string, Locked>>;
  };
  const missing: string[] = [];
  for (const [path, { dependencies, optionalDependencies }] of Object.entries(lock.packages)) {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const above = path
        .split("/node_modules/")
        .map((_, index, parts) => parts.slice(0, index + 1).join("/node_modules/"));
      const places = ["", ...above.filter((each) => each !== "").map((each) => `${each}/`)];
      if (!places.some((place) => `${place}node_modules/${name}` in lock.packages)) missing.push(`${path} -> ${name}`);
    }
  }
  assert.deepEqual(missing, []);
});
