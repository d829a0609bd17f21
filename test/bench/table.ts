import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import type { BenchResult, Figure } from "./contract.js";

/** Tables in Markdown. Ratios are taken pair by pair within a round, because the machine drifts between rounds. */

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The value below which this share of all lies; 1: the largest. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function show(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

export function ratios(figure: Figure, target: string, reference: string): number[] {
  const others = figure.values.get(reference) ?? [];
  return (figure.values.get(target) ?? []).flatMap((value, round) => {
    const other = others[round];
    return other === undefined || other === 0 ? [] : [value / other];
  });
}

function cell(figure: Figure, target: string, reference: string): string {
  const values = figure.values.get(target) ?? [];
  if (values.length === 0) return "";
  if (target === reference) return show(median(values));
  const against = ratios(figure, target, reference);
  if (against.length === 0) return show(median(values));
  const spread = against.length > 1 ? ` (${show(Math.min(...against))}–${show(Math.max(...against))})` : "";
  return `${show(median(values))} · **${show(median(against))}×**${spread}`;
}

export function markdown({ title, notes, targets, figures }: BenchResult): string {
  const [reference = ""] = targets;
  const rows = figures.map((figure) => [
    `${figure.name}, ${figure.unit}`,
    ...targets.map((target) => cell(figure, target, reference)),
  ]);
  const table = [["", ...targets], ["---", ...targets.map(() => "---")], ...rows];
  return [
    `## ${title}`,
    "",
    ...notes.map((note) => `- ${note}`),
    "",
    ...table.map((row) => `| ${row.join(" | ")} |`),
  ].join("\n");
}

function firstLine(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).split("\n")[0] ?? "";
  } catch {
    return "unknown";
  }
}

/** Where it was measured: without this a figure means nothing. */
export function machine(directory: string): string[] {
  const [cpu] = cpus();
  const commit = firstLine("git", ["rev-parse", "--short", "HEAD"]);
  const medium = firstLine("stat", ["-f", "-c", "%T", directory]);
  return [
    `${new Date().toISOString()}, commit ${commit}`,
    `${cpus().length} × ${cpu?.model ?? "unknown CPU"}, ${Math.round(totalmem() / 1024 ** 3)} GiB, Linux ${release()}, Node ${process.version}`,
    `files on ${directory} (${medium}); client and servers share the machine, over loopback`,
  ];
}
