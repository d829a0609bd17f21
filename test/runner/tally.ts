import type { Line } from "./reporter.js";

/** What the report lines of one test file add up to. Pure, so that the counting itself is tested (tally.test.ts). */

export interface Failure {
  /** From the outermost suite inwards. */
  readonly path: readonly string[];
  readonly error: string;
}

export interface Skip {
  readonly path: readonly string[];
  readonly reason: string;
}

export interface Tally {
  passed: number;
  readonly failures: Failure[];
  readonly skips: Skip[];
  readonly notes: string[];
  /** Begun and never ended: what to look at when a file hangs or dies. */
  readonly running: string[];
  /** The file's report is whole. */
  finished: boolean;
}

/** Leaves only: a suite, or a test with subtests, counts by what it holds, unless it failed by itself. */
export function tally(lines: readonly Line[]): Tally {
  const result: Tally = { passed: 0, failures: [], skips: [], notes: [], running: [], finished: false };
  /** Reports of children come before their parent's: per nesting, the results that wait for it. */
  const waiting: ({ failures: Failure[]; skips: Skip[]; count: number } | undefined)[] = [];
  const level = (nesting: number) => {
    waiting[nesting] ??= { failures: [], skips: [], count: 0 };
    return waiting[nesting];
  };
  const running: { name: string; nesting: number }[] = [];

  for (const line of lines) {
    if (line.kind === "finished") {
      result.finished = true;
      continue;
    }
    if (line.kind === "note") {
      result.notes.push(line.text);
      continue;
    }
    if (line.kind === "begun") {
      running.push(line);
      continue;
    }
    const begun = running.findIndex((other) => other.name === line.name && other.nesting === line.nesting);
    if (begun >= 0) running.splice(begun, 1);

    const inner = level(line.nesting + 1);
    waiting[line.nesting + 1] = { failures: [], skips: [], count: 0 };
    const own = level(line.nesting);
    const under = <T extends { path: readonly string[] }>(item: T): T => ({ ...item, path: [line.name, ...item.path] });
    own.failures.push(...inner.failures.map(under));
    own.skips.push(...inner.skips.map(under));
    own.count += 1;

    const leaf = inner.count === 0;
    if (line.skip !== undefined || line.todo !== undefined) {
      // A failing "todo" doesn't fail node:test either, but it must not look like a pass.
      const reason = line.skip ?? `todo: ${line.todo}`;
      if (leaf) own.skips.push({ path: [line.name], reason: reason === "" ? "no reason given" : reason });
    } else if (!line.passed) {
      if (leaf || line.byChildren !== true)
        own.failures.push({ path: [line.name], error: line.error ?? "failed without an error" });
    } else if (leaf && !line.suite) result.passed += 1;
  }

  for (const held of waiting) {
    // No result came from a level whose file was ended within a suite.
    if (held === undefined) continue;
    result.failures.push(...held.failures);
    result.skips.push(...held.skips);
  }
  result.running.push(...running.map(({ name }) => name));
  return result;
}
