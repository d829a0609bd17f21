/** What a YAML file of ours is made of. */
export type Yaml = string | number | boolean | readonly Yaml[] | { readonly [key: string]: Yaml | undefined };

/**
 * Block YAML for people to read: a string of several lines or with quotes is a block scalar, another one is quoted as JSON
 * does where it must be. `undefined` values are left out.
 */
export function toYaml(value: Yaml): string {
  return `${render(value, 0).replace(/^\n/, "")}\n`;
}

/** A plain scalar that no YAML 1.1 or 1.2 reader takes for anything but this string. */
const PLAIN = /^[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*$/;
const RESERVED = /^(true|false|yes|no|on|off|y|n|null)$/i;

function render(value: Yaml, depth: number): string {
  const indent = "  ".repeat(depth);
  if (typeof value === "string" && /["\n]/.test(value)) {
    return ` |-\n${value.replace(/^(?=.)/gm, indent)}`;
  }
  if (typeof value === "string")
    return ` ${PLAIN.test(value) && !RESERVED.test(value) ? value : JSON.stringify(value)}`;
  if (typeof value !== "object") return ` ${value}`;
  if (isList(value)) {
    if (value.length === 0) return " []";
    // A list's item stands behind its dash: the first line's indentation gives way to it.
    return value.map((item) => `\n${indent}-${render(item, depth + 1).replace(/^\n\s*/, " ")}`).join("");
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return " {}";
  return entries
    .flatMap(([key, item]) => (item === undefined ? [] : [`\n${indent}${key}:${render(item, depth + 1)}`]))
    .join("");
}

function isList(value: object): value is readonly Yaml[] {
  return Array.isArray(value);
}
