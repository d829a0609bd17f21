import { monotonicMs } from "./clock.js";

/** Tools that renew certificates replace files one after the other; nobody needs the new ones within the second. */
const LOOK_MS = 1_000;
/** Files that can't be used are said at once, and again after so long while they can't. */
const SAY_MS = 60_000;

export interface Followed<Content> {
  readonly first: Content;
  /** Throws where the files can't be used as they are, e.g. between two renames. */
  read(): Content;
  same(one: Content, other: Content): boolean;
  /** What it throws goes to `refused`, and the files are offered again. */
  renewed(next: Content): void;
  /** The files can't be used: when that begins, and each minute while it lasts. What was read before stays. */
  refused(error: unknown): void;
}

/**
 * Looks at files each second, and tells when they changed. By content, not by time or watch: files in containers are links
 * that are switched, and on network shares no watch tells. Returns how to stop that.
 */
export function followFiles<Content>({ first, read, same, renewed, refused }: Followed<Content>): () => void {
  let current = first;
  let saidAt = Number.NEGATIVE_INFINITY;
  const look = () => {
    try {
      const next = read();
      if (!same(next, current)) {
        renewed(next);
        current = next;
      }
      saidAt = Number.NEGATIVE_INFINITY;
    } catch (error) {
      if (monotonicMs() - saidAt < SAY_MS) return;
      saidAt = monotonicMs();
      refused(error);
    }
  };
  const timer = setInterval(look, LOOK_MS).unref();
  return () => clearInterval(timer);
}
