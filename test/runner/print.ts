import type { FileResult } from "./file.js";
import type { TestFile } from "./suites.js";

/** What the runner says. Everything on stdout, so that the count is the last line there whatever happened. */

/** Begins a line that is printed also where the test passes. */
export const MEASURED = "measured: ";

export interface Ran extends FileResult {
  readonly file: TestFile;
}

export interface SuiteTime {
  readonly name: string;
  readonly files: number;
  readonly seconds: number;
}

const write = (text: string) => process.stdout.write(`${text}\n`);
const indent = (text: string, by: string) => text.replace(/^/gm, by);
const seconds = (value: number) => `${value.toFixed(1)} s`;

export function failedIn(ran: FileResult): number {
  return ran.tally.failures.length + (ran.trouble === undefined ? 0 : 1);
}

export function printFile(ran: Ran): void {
  const { passed, failures, skips, notes } = ran.tally;
  const counts = [`${passed} passed`];
  if (failures.length > 0) counts.push(`${failures.length} failed`);
  if (skips.length > 0) counts.push(`${skips.length} skipped`);
  const verdict = failedIn(ran) > 0 ? "FAIL" : "ok  ";
  write(`  ${verdict} ${ran.file.source}  ${counts.join(", ")}  ${seconds(ran.seconds)}`);
  if (failedIn(ran) > 0) {
    for (const { path, error } of failures) {
      write(`\n    x ${path.join(" > ")}`);
      write(indent(error, "      "));
    }
    if (ran.trouble !== undefined) write(`\n    x the file: ${ran.trouble}`);
    if (ran.output.trim() !== "") {
      write(`\n    --- output of ${ran.file.source}`);
      write(indent(ran.output.trimEnd(), "    | "));
    }
    write("");
  }
  if (failedIn(ran) === 0) for (const line of measured(ran.output)) write(`       - ${line}`);
  for (const note of notes) write(`       - ${note}`);
  for (const { pid, command } of ran.leftovers) write(`    ! left behind and killed: ${pid} ${command}`);
}

/** What a test wrote behind the mark (support/clients/run.ts, `report`). */
function measured(output: string): string[] {
  const lines = output.split("\n").filter((line) => line.startsWith(MEASURED));
  return lines.map((line) => line.slice(MEASURED.length));
}

export function printSkips(all: readonly Ran[]): void {
  const skipped = all.filter((ran) => ran.tally.skips.length > 0);
  if (skipped.length === 0) return;
  write("\nSKIPPED: these tests proved nothing");
  for (const { file, tally } of skipped)
    for (const { path, reason } of tally.skips) write(`  ${file.source}: ${path.join(" > ")} (${reason})`);
}

export function printFailures(all: readonly Ran[]): void {
  const failed = all.filter((ran) => failedIn(ran) > 0);
  if (failed.length === 0) return;
  write("\nFAILED");
  for (const { file, tally, trouble } of failed) {
    for (const { path } of tally.failures) write(`  ${file.source}: ${path.join(" > ")}`);
    if (trouble !== undefined) write(`  ${file.source}: ${trouble}`);
  }
}

export function printTimes(suites: readonly SuiteTime[], all: readonly Ran[]): void {
  write("\nTime");
  for (const { name, files, seconds: taken } of suites)
    write(`  ${name.padEnd(12)} ${seconds(taken).padStart(9)}  ${files} ${files === 1 ? "file" : "files"}`);
  const slowest = [...all].sort((a, b) => b.seconds - a.seconds).slice(0, 8);
  if (slowest.length > 1) write("Slowest files");
  if (slowest.length > 1) for (const ran of slowest) write(`  ${seconds(ran.seconds).padStart(9)}  ${ran.file.source}`);
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export function printCounts({ passed, failed, skipped }: Counts): void {
  write(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
}

export function say(text: string): void {
  write(text);
}
