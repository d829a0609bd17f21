/** What of a configuration may stand on the record, and how a change of it is told. Pure. */

const SECRET = /pass(?:word|phrase)|secret|token|private|sealed|credential|hash$/i;
/** Named like a secret, and none. */
const HARMLESS = /^(?:has|max|min)|(?:ChangedAt|Days|File|Age)$/;
export const MASKED = "***";

/** A copy in which each value under a name like a secret's is masked, however deep. */
export function masked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => [name, isSecret(name, part) ? MASKED : masked(part)]),
  );
}

function isSecret(name: string, part: unknown): boolean {
  if (part === null || part === undefined || typeof part === "boolean" || typeof part === "number") return false;
  return SECRET.test(name) && !HARMLESS.test(name);
}

/** The top-level fields that differ, before and after, masked. A masked field that changed says so. */
export function changeOf(before: unknown, after: unknown): { readonly before: unknown; readonly after: unknown } {
  if (!isObject(before) || !isObject(after)) return { before: masked(before ?? null), after: masked(after ?? null) };
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  const pick = (from: Record<string, unknown>) =>
    masked(Object.fromEntries(changed.filter((name) => name in from).map((name) => [name, from[name]])));
  return { before: pick(before), after: pick(after) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
