import { existsSync, readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";

/** Which test files there are, and how the files of each suite are run. */

export interface Suite {
  readonly name: string;
  /** Files at once. Suites that start sites have the machine to themselves: their deadlines are asserted. */
  readonly atOnce: number;
  /** Seconds until a file is ended as hung. */
  readonly timeoutSeconds: number;
  /** Whether a file that failed is run once more, loudly: its deadlines are asserted on a machine that others may load. */
  readonly secondTry: boolean;
  /** Run only when it is named: too long for each `npm test`. */
  readonly onDemand?: boolean;
}

export interface TestFile {
  readonly suite: string;
  /** The source, relative to the repository. */
  readonly source: string;
  /** The compiled file, absolute. */
  readonly compiled: string;
}

/** In the order in which they run: what is quick and tells most comes first. */
export const suites: readonly Suite[] = [
  { name: "unit", atOnce: 2, timeoutSeconds: 180, secondTry: true },
  { name: "contract", atOnce: 2, timeoutSeconds: 300, secondTry: true },
  { name: "fuzz", atOnce: 2, timeoutSeconds: 300, secondTry: false },
  { name: "cluster", atOnce: 1, timeoutSeconds: 600, secondTry: true },
  { name: "acceptance", atOnce: 1, timeoutSeconds: 600, secondTry: true },
  { name: "chaos", atOnce: 1, timeoutSeconds: 900, secondTry: true },
  // On a bare machine the first one installs an engine and builds all images.
  { name: "ops", atOnce: 1, timeoutSeconds: 1_500, secondTry: true },
  { name: "ops-full", atOnce: 1, timeoutSeconds: 2_400, secondTry: false, onDemand: true },
];

/** Run by their own commands, not by `npm test`. */
const elsewhere = ["bench"];

/**
 * `test/<suite>/...` is of that suite, and `test/<suite>/full/...` of its longer half; what lies beside its code or anywhere
 * else in `test/` is a unit test.
 */
export function suiteOf(source: string): string | undefined {
  const [top, folder, inner] = source.split("/");
  if (top === "test" && folder !== undefined) {
    if (elsewhere.includes(folder)) return undefined;
    if (inner === "full" && suites.some(({ name }) => name === `${folder}-full`)) return `${folder}-full`;
    if (suites.some(({ name }) => name === folder)) return folder;
  }
  return "unit";
}

/** Goes by the sources: a compiled file whose source was removed isn't run. */
export function findTests(root: string): TestFile[] {
  const found: TestFile[] = [];
  for (const top of ["services", "test"])
    for (const entry of readdirSync(join(root, top), { withFileTypes: true, recursive: true })) {
      if (!entry.isFile() || !entry.name.endsWith(".test.ts")) continue;
      // `path` is deprecated from Node 21 on, `parentPath` is missing from 20.9: whichever is there.
      const source = relative(root, join(entry.parentPath ?? entry.path, entry.name))
        .split(sep)
        .join("/");
      const suite = suiteOf(source);
      if (suite === undefined) continue;
      found.push({ suite, source, compiled: join(root, "dist", source.replace(/\.ts$/, ".js")) });
    }
  return found.sort((a, b) => a.source.localeCompare(b.source));
}

/**
 * A pattern is a suite's name, or else a part of a source's path; several are alternatives. Without any, all that isn't on
 * demand.
 */
export function choose(files: readonly TestFile[], patterns: readonly string[]): TestFile[] {
  const suite = (wanted: string) => suites.find(({ name }) => name === wanted);
  if (patterns.length === 0) return files.filter((file) => suite(file.suite)?.onDemand !== true);
  return files.filter((file) =>
    patterns.some((pattern) =>
      suite(pattern) === undefined ? file.source.includes(pattern.replace(/\.js$/, ".ts")) : file.suite === pattern,
    ),
  );
}

export function notBuilt(files: readonly TestFile[]): TestFile[] {
  return files.filter((file) => !existsSync(file.compiled));
}
