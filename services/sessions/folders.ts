import type { EffectiveAccount } from "#config/effective.js";
import type { Attributes } from "./contract.js";
import { isWithin, VirtualPath } from "./virtual-path.js";

/**
 * Virtual folders: which place in the storage a path of the client means. All of it goes by whole, normalised paths: `/ab` is
 * not below `/a`, and no `..` is left by the time that anything is looked up. Pure.
 */
export type Layout = Pick<EffectiveAccount, "home" | "folders">;

export interface Place {
  /** Relative to the storage root: the home, or a folder's target. Nothing outside of it is ever reached through this path. */
  readonly base: string;
  /** Below the base. */
  readonly parts: readonly string[];
  /** Where the account sees the base; empty: the home, at `/`. */
  readonly mount: readonly string[];
}

/** The innermost folder that holds the path, else the home. */
export function placeOf({ home, folders }: Layout, at: VirtualPath): Place {
  const path = at.toString();
  let best: Layout["folders"][number] | undefined;
  for (const folder of folders) {
    if (isWithin(path, folder.path) && (best === undefined || folder.path.length > best.path.length)) best = folder;
  }
  if (best === undefined) return { base: home, parts: at.parts, mount: [] };
  const mount = VirtualPath.parse(best.path).parts;
  return { base: best.target, parts: at.parts.slice(mount.length), mount };
}

export function isSamePlace(one: Place, other: Place): boolean {
  return one.base === other.base && one.parts.join("/") === other.parts.join("/");
}

/**
 * `mount`: a folder is here. `above`: one is somewhere below, so this is a directory, whatever lies in the home. Neither may
 * be removed, renamed or written over.
 */
export function folderRole({ folders }: Layout, at: VirtualPath): "mount" | "above" | undefined {
  const path = at.toString();
  if (folders.some((folder) => folder.path === path)) return "mount";
  return folders.some((folder) => isWithin(folder.path, path)) && !at.isRoot ? "above" : undefined;
}

/** The names that folders add to the listing of a directory, hiding what has the same name there. */
export function folderNames({ folders }: Layout, at: VirtualPath): ReadonlySet<string> {
  const path = at.toString();
  const below = folders.filter((folder) => folder.path !== path && isWithin(folder.path, path));
  return new Set(below.map((folder) => folder.path.split("/")[at.parts.length + 1] as string));
}

/** Of a directory that is only there because a folder lies below it. */
export const VIRTUAL_DIRECTORY: Attributes = {
  type: "directory",
  size: 0,
  mode: 0o755,
  uid: 0,
  gid: 0,
  atime: 0,
  mtime: 0,
  links: 2,
};
