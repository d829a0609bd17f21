import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { killAll, type Leftover, markName } from "./processes.js";
import type { Line } from "./reporter.js";
import { type Tally, tally } from "./tally.js";

/** Runs one compiled test file in a process of its own. */

export interface FileResult {
  readonly tally: Tally;
  readonly seconds: number;
  /** Everything that the file and its children printed. */
  readonly output: string;
  /** What is wrong with the file as a whole: it hung, died, left its report unfinished, or holds no test. */
  readonly trouble?: string;
  /** Processes that it had started and not ended; they were killed. */
  readonly leftovers: readonly Leftover[];
}

export interface FileOptions {
  readonly root: string;
  readonly compiled: string;
  /** An existing directory for its output and report. */
  readonly workDirectory: string;
  readonly timeoutSeconds: number;
  /** Aborting kills the file and all that it started. */
  readonly signal: AbortSignal;
}

const reporter = fileURLToPath(new URL("./reporter.js", import.meta.url));

function readLines(path: string): Line[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return [];
  }
  // The last line of a killed process may be cut.
  const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return whole.filter((line) => line !== "").map((line) => JSON.parse(line) as Line);
}

interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

function countOf(result: Tally): number {
  return result.passed + result.failures.length + result.skips.length;
}

function troubleOf(exit: Exit, result: Tally, timedOut: boolean, options: FileOptions): string | undefined {
  const running = result.running.length > 0 ? `; running: ${result.running.join(", ")}` : "";
  if (options.signal.aborted) return `interrupted${running}`;
  if (timedOut && result.finished)
    return `its tests ended, but it didn't: something is still open after ${options.timeoutSeconds} s`;
  if (timedOut) return `killed after ${options.timeoutSeconds} s${running}`;
  if (exit.signal !== null) return `ended by ${exit.signal}${running}`;
  // node:test starts its reporter with the first test, so these two look the same from here.
  if (exit.code === 0 && !result.finished && countOf(result) === 0 && result.running.length === 0)
    return "holds no test, or ended before the first one was done";
  if (!result.finished) return `ended with code ${exit.code} before its report was complete${running}`;
  if (exit.code !== 0 && result.failures.length === 0) return `ended with code ${exit.code} though no test failed`;
  if (countOf(result) === 0) return "holds no test";
  return undefined;
}

export async function runFile(options: FileOptions): Promise<FileResult> {
  const mark = randomUUID();
  const outputPath = join(options.workDirectory, `${mark}.out`);
  const reportPath = join(options.workDirectory, `${mark}.jsonl`);
  const output = openSync(outputPath, "w");
  const started = performance.now();
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  // Run as a plain program: under `--test` there would be one more process between us and the tests.
  const child = spawn(
    process.execPath,
    [
      "--enable-source-maps",
      `--test-reporter=${reporter}`,
      `--test-reporter-destination=${reportPath}`,
      options.compiled,
    ],
    {
      cwd: options.root,
      env: { ...environment, [markName]: mark },
      stdio: ["ignore", output, output],
      detached: true,
    },
  );
  closeSync(output);

  let timedOut = false;
  const left: Leftover[] = [];
  const killGroup = () => {
    if (child.pid !== undefined) left.push(...killAll(child.pid, mark).filter(({ pid }) => pid !== child.pid));
  };
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup();
  }, options.timeoutSeconds * 1000);
  options.signal.addEventListener("abort", killGroup);
  const exit = await new Promise<Exit>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve({ code, signal }));
  }).finally(() => {
    clearTimeout(timer);
    options.signal.removeEventListener("abort", killGroup);
  });
  killGroup();

  const result = tally(readLines(reportPath));
  const trouble = troubleOf(exit, result, timedOut, options);
  return {
    tally: result,
    seconds: (performance.now() - started) / 1000,
    output: readFileSync(outputPath, "utf8"),
    leftovers: left,
    ...(trouble !== undefined && { trouble }),
  };
}
