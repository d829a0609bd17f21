import { type KeyRing, open, SealError, seal } from "#lib/seal.js";
import type { Item } from "./contents.js";
import { BackupError, ClusterKeyNeededError } from "./errors.js";

const ENVELOPE = /^ls1:([0-9a-f]{8}):[A-Za-z0-9_-]+$/;

/**
 * The item with its sealed values readable by `own`: as it is where `own` has their key, else opened with `theirs` and
 * sealed anew. A sealed value's context is the store key of its entry; in the history of changes it is the key of the
 * entry that was replaced. Throws `ClusterKeyNeededError`, and `BackupError` for a value that belongs elsewhere.
 */
export function reseal([key, value]: Item, own: KeyRing, theirs: KeyRing | undefined): Item {
  if (!value.includes("ls1:")) return [key, value];
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    return [key, value];
  }
  let changed = false;

  const walk = (part: unknown, context: string): unknown => {
    if (typeof part === "string") return envelope(part, context);
    if (Array.isArray(part)) return part.map((each) => walk(each, context));
    if (typeof part !== "object" || part === null) return part;
    const { key: replaced, before } = part as Record<string, unknown>;
    const isPast = typeof replaced === "string" && typeof before === "string";
    return Object.fromEntries(
      Object.entries(part).map(([name, each]) => [
        name,
        isPast && name === "before" ? past(replaced, before) : walk(each, context),
      ]),
    );
  };

  /** An entry within an entry, as text. */
  const past = (context: string, text: string): string => {
    const [, again] = reseal([context, text], own, theirs);
    if (again !== text) changed = true;
    return again;
  };

  const envelope = (text: string, context: string): string => {
    const id = ENVELOPE.exec(text)?.[1];
    if (id === undefined) return text;
    try {
      if (own.some((each) => each.id === id)) {
        open(text, own, context);
        return text;
      }
      if (theirs === undefined || !theirs.some((each) => each.id === id)) throw new ClusterKeyNeededError(id);
      changed = true;
      return seal(open(text, theirs, context), own, context);
    } catch (error) {
      if (error instanceof SealError) throw new BackupError(`the secret in ${context}: ${error.message}`, error);
      throw error;
    }
  };

  const walked = walk(parsed, key);
  return [key, changed ? JSON.stringify(walked) : value];
}
