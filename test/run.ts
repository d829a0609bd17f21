import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runFile } from "./runner/file.js";
import {
  type Counts,
  failedIn,
  printCounts,
  printFailures,
  printFile,
  printSkips,
  printTimes,
  type Ran,
  type SuiteTime,
  say,
} from "./runner/print.js";
import { choose, findTests, notBuilt, type Suite, suites, type TestFile } from "./runner/suites.js";

/**
 * `npm test`, after `tsc -b`: `node dist/test/run.js [--timeout SECONDS] [pattern...]`. A pattern is a suite's name or a part
 * of a path; the time-out is each file's, instead of its suite's.
 * Without patterns the linter and formatter are asked first; they count as one test, so that a misplaced comma
 * doesn't hide what the tests say. The last line on stdout is always `N passed, N failed, N skipped`.
 */

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** First runs of files that failed once and passed at the second try: each is a defect to find, of the test or the product. */
const unsteady: Ran[] = [];

async function runSuite(suite: Suite, files: TestFile[], work: string, signal: AbortSignal): Promise<Ran[]> {
  const queue = [...files];
  const done: Ran[] = [];
  const lane = async () => {
    for (let file = queue.shift(); file !== undefined && !signal.aborted; file = queue.shift()) {
      const options = { root, compiled: file.compiled, workDirectory: work, timeoutSeconds: suite.timeoutSeconds };
      let ran: Ran = { file, ...(await runFile({ ...options, signal })) };
      printFile(ran);
      if (failedIn(ran) > 0 && suite.secondTry && !signal.aborted) {
        const first = ran;
        say(`  ..   ${file.source}  once more: it failed, and its peers share a busy machine with it`);
        ran = { file, ...(await runFile({ ...options, signal })) };
        printFile(ran);
        if (failedIn(ran) === 0) unsteady.push(first);
      }
      done.push(ran);
    }
  };
  await Promise.all(Array.from({ length: suite.atOnce }, lane));
  return done;
}

/** Types were checked by the build; this is the rest of `npm run check`. */
function lint(): boolean {
  const started = performance.now();
  const biome = join(root, "node_modules", ".bin", "biome");
  const result = spawnSync(biome, ["check", "--colors=off", "."], { cwd: root, encoding: "utf8" });
  const passed = result.status === 0;
  say(`\ncheck\n  ${passed ? "ok  " : "FAIL"} biome check  ${((performance.now() - started) / 1000).toFixed(1)} s`);
  if (!passed) say(`${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`);
  return passed;
}

function count(all: readonly Ran[]): Counts {
  const sum = (of: (ran: Ran) => number) => all.reduce((total, ran) => total + of(ran), 0);
  return {
    passed: sum((ran) => ran.tally.passed),
    failed: sum(failedIn),
    skipped: sum((ran) => ran.tally.skips.length),
  };
}

async function main(patterns: readonly string[], timeoutSeconds: number | undefined): Promise<number> {
  const files = choose(findTests(root), patterns);
  const missing = notBuilt(files);
  for (const { source } of missing) say(`not built: ${source} (run \`npx tsc -b\` first)`);

  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
  const work = mkdtempSync(join(tmpdir(), "longshore-test-"));
  const all: Ran[] = [];
  const times: SuiteTime[] = [];
  const linted = patterns.length > 0 ? undefined : lint();
  try {
    for (const suite of suites) {
      const chosen = files.filter((file) => file.suite === suite.name && !missing.includes(file));
      if (chosen.length === 0 || stop.signal.aborted) continue;
      say(`\n${suite.name}`);
      const started = performance.now();
      const settings = timeoutSeconds === undefined ? suite : { ...suite, timeoutSeconds };
      all.push(...(await runSuite(settings, chosen, work, stop.signal)));
      times.push({ name: suite.name, files: chosen.length, seconds: (performance.now() - started) / 1000 });
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }

  printTimes(times, all);
  printSkips(all);
  if (unsteady.length > 0) {
    say(`\nUNSTEADY: ${unsteady.length} files failed at first and passed at a second try. Find out why:`);
    for (const { file, tally, trouble } of unsteady) {
      for (const { path } of tally.failures) say(`  ${file.source}: ${path.join(" > ")}`);
      if (trouble !== undefined) say(`  ${file.source}: ${trouble}`);
    }
  }
  printFailures(all);
  const counts = count(all);
  const failed = counts.failed + missing.length + (linted === false ? 1 : 0);
  const passed = counts.passed + (linted === true ? 1 : 0);
  const none = counts.passed + counts.failed + counts.skipped === 0;
  if (none) say(`\nno test was run${patterns.length > 0 ? ` for ${patterns.join(" ")}` : ""}: that is a failure, too`);
  if (stop.signal.aborted) say("\ninterrupted: what follows counts only what was run");
  printCounts({ passed, failed, skipped: counts.skipped });
  return failed > 0 || none || stop.signal.aborted ? 1 : 0;
}

const { values, positionals } = parseArgs({ options: { timeout: { type: "string" } }, allowPositionals: true });
process.exitCode = await main(positionals, values.timeout === undefined ? undefined : Number(values.timeout));
