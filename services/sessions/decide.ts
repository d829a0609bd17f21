import { type ErrorCode, LongshoreError } from "#lib/errors.js";
import type { OpenIntent } from "./contract.js";

/**
 * The decision table of clients.md, pure: what each operation does to a committed file (C), an own partial (P), both, or
 * nothing. Another account's partial is invisible, so it never appears here.
 */
export interface Presence {
  readonly committed: "none" | "file" | "directory" | "other";
  readonly partial: boolean;
}

export type OpenDecision =
  | { readonly act: "read" }
  /** A new staging beside whatever is there; `over`: a committed file will be replaced. */
  | { readonly act: "fresh"; readonly over: boolean }
  /** A new staging that starts as the committed file, copied only as far as needed. */
  | { readonly act: "copy-on-write" }
  | { readonly act: "resume"; readonly over: boolean }
  | { readonly act: "refuse"; readonly error: LongshoreError };

export function decideOpen(intent: OpenIntent, found: Presence): OpenDecision {
  const there = found.committed !== "none";
  if (intent.exclusive && intent.create && (there || found.partial)) {
    return refuse("exists", "a file of that name exists");
  }
  if (!intent.read && !intent.write) return refuse("invalid-argument", "neither reading nor writing was asked for");
  if (found.committed === "directory") return refuse("is-a-directory", "it is a directory");
  if (found.committed === "other") return refuse("permission-denied", "not a regular file");
  if (!intent.write) {
    if (there) return { act: "read" };
    if (found.partial) return refuse("incomplete-upload", "upload not complete");
    return refuse("not-found", "no such file");
  }
  if (!there && !found.partial) {
    return intent.create ? { act: "fresh", over: false } : refuse("not-found", "no such file");
  }
  if (intent.truncate) return { act: "fresh", over: there };
  // never the committed file while a partial lies over it: an old head would get a new tail (finding 1)
  if (found.partial) return { act: "resume", over: there };
  return { act: "copy-on-write" };
}

export type RemoveDecision =
  | { readonly act: "remove" | "discard-partial" }
  | { readonly act: "refuse"; readonly error: LongshoreError };

export function decideRemove(found: Presence): RemoveDecision {
  if (found.partial) return { act: "discard-partial" };
  if (found.committed === "none") return refuse("not-found", "no such file");
  if (found.committed === "directory") return refuse("is-a-directory", "it is a directory: remove it with rmdir");
  return { act: "remove" };
}

export type RenameDecision =
  | { readonly act: "rename"; readonly discardPartial: boolean; readonly over: boolean }
  | { readonly act: "refuse"; readonly error: LongshoreError };

export function decideRename(from: Presence, to: Presence, replace: boolean): RenameDecision {
  if (from.partial) return refuse("incomplete-upload", "upload not complete", "io");
  if (from.committed === "none") return refuse("not-found", "no such file");
  if (to.committed !== "none") {
    if (!replace) return refuse("exists", "a file of that name exists");
    if (to.committed === "directory" || from.committed === "directory") {
      return refuse("exists", "a directory can't be replaced");
    }
  }
  return { act: "rename", discardPartial: to.partial, over: to.committed !== "none" };
}

export type SetAttributesDecision =
  | { readonly act: "apply" }
  | { readonly act: "refuse"; readonly error: LongshoreError };

/** By path, with no handle of the session's own open on it (then they are staged there). */
export function decideSetAttributes(found: Presence): SetAttributesDecision {
  if (found.partial) return refuse("io", "upload not complete");
  if (found.committed === "none") return refuse("not-found", "no such file");
  return { act: "apply" };
}

function refuse(code: ErrorCode, message: string, as: ErrorCode = code): { act: "refuse"; error: LongshoreError } {
  return { act: "refuse", error: new LongshoreError(as, message) };
}
