export const FORMATS = ["text", "json"] as const;
export type Format = (typeof FORMATS)[number];

/** Columns under headings, for people; scripts ask for `-o json`. Control characters from outside are shown, not obeyed. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headings, ...rows].map((row) => row.map((cell) => printable(cell)));
  const widths = headings.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** These fields of each one, under their names. */
export function columns(names: readonly string[], all: readonly Readonly<Record<string, unknown>>[]): string {
  return table(
    names.map((name) => name.toUpperCase()),
    all.map((one) => names.map((name) => cell(one[name]))),
  );
}

/** One thing, a line for each of its fields. */
export function fields(one: Readonly<Record<string, unknown>>): string {
  return table(
    ["FIELD", "VALUE"],
    Object.entries(one).map(([field, value]) => [field, cell(value)]),
  );
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** One value of an answer as text: its parts in one line. */
export function cell(value: unknown): string {
  if (value === undefined || value === null) return "-";
  if (Array.isArray(value)) return value.length === 0 ? "-" : value.map((part) => cell(part)).join(",");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Bytes for people. */
export function size(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A terminal would obey control characters. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
