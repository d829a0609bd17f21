import { LongshoreError } from "#lib/errors.js";

/** Linux's limits; longer ones can't exist. */
const LONGEST_NAME = 255;
const LONGEST_PATH = 4_096;

/**
 * A client's path, normalised: absolute, `.` and empty parts dropped, `..` stopping at the top. Whatever it holds, what comes
 * out names something at or below the account's home.
 */
export class VirtualPath {
  readonly parts: readonly string[];

  private constructor(parts: readonly string[]) {
    this.parts = parts;
  }

  /** Throws `invalid-argument` (NUL, not text) or `name-too-long`. A relative path starts at the home. */
  static parse(path: string): VirtualPath {
    if (path.includes("\0")) throw new LongshoreError("invalid-argument", "a path can't hold a NUL");
    if (Buffer.byteLength(path) > LONGEST_PATH) throw new LongshoreError("name-too-long", "the path is too long");
    const parts: string[] = [];
    for (const part of path.split("/")) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        parts.pop();
        continue;
      }
      if (part.length > LONGEST_NAME / 4 && Buffer.byteLength(part) > LONGEST_NAME) {
        throw new LongshoreError("name-too-long", "a name is too long");
      }
      parts.push(part);
    }
    return new VirtualPath(parts);
  }

  static of(parts: readonly string[]): VirtualPath {
    return new VirtualPath(parts);
  }

  get isRoot(): boolean {
    return this.parts.length === 0;
  }

  toString(): string {
    return `/${this.parts.join("/")}`;
  }
}

/** Whether `inner` is `outer` or lies below it; both normalised. */
export function isWithin(inner: string, outer: string): boolean {
  return outer === "/" || inner === outer || inner.startsWith(`${outer}/`);
}
