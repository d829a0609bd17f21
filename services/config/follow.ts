import type { Coordination, Listing, Watch } from "#coordination/contract.js";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { Replica } from "./replica.js";

export interface FollowOptions {
  readonly coordination: Coordination;
  readonly prefix: string;
  /** Gets every listing, in the order in which they were read. Mustn't throw. */
  readonly onListing: (listing: Listing) => void;
  /** Called when a listing failed; the follower tries again by itself. */
  readonly onTrouble?: (error: unknown) => void;
  /** From a hint to the listing, in milliseconds, so that many changes at once cost one listing. Default 20. */
  readonly debounceMs?: number;
  /** A listing without any hint, in milliseconds: bounds what a silently stuck watch can hide. Default 30,000. */
  readonly relistMs?: number;
}

export interface Follower {
  /** Lists again soon, whatever the watch says. */
  refresh(): void;
  /** For how long it has been known that the last listing may be old, in milliseconds; 0: nothing says so. */
  behindMs(): number;
  /** Idempotent; `onListing` is never called after it. */
  close(): void;
}

const DEBOUNCE_MS = 20;
const RELIST_MS = 30_000;
/** For everything (100,000 accounts on a slow link), and for what changed. */
const WHOLE_DEADLINE_MS = 30_000;
const CHANGES_DEADLINE_MS = 5_000;

/**
 * Follows everything under a prefix. A watch is a hint only (coordination/contract.ts): what counts is a listing that
 * began after the hint, of everything or of what changed since (replica.ts). A hint that comes while a listing is under way
 * asks for another one, so none is ever missed.
 */
export function follow(options: FollowOptions): Follower {
  const { coordination, prefix } = options;
  const closing = new AbortController();
  const backoff = createBackoff({ firstMs: 100, mostMs: 1_000 });
  /** When the oldest hint came that no listing has answered yet. */
  let askedAt: number | undefined = monotonicMs();
  /** The same for the listing that is under way. */
  let answering: number | undefined;
  let seen = 0;
  let wake: (() => void) | undefined;
  const replica = new Replica();

  const list = async (): Promise<Listing> => {
    const { changedSince } = replica;
    if (changedSince !== undefined) {
      const changes = await coordination.list(prefix, { changedSince, deadlineMs: CHANGES_DEADLINE_MS });
      const updated = replica.update(changes);
      if (updated !== undefined) return updated;
    }
    return replica.replace(await coordination.list(prefix, { deadlineMs: WHOLE_DEADLINE_MS }));
  };

  const refresh = () => {
    askedAt ??= monotonicMs();
    wake?.();
  };

  const idle = async () => {
    if (askedAt !== undefined) return;
    const nap = new AbortController();
    wake = () => nap.abort();
    closing.signal.addEventListener("abort", wake, { once: true });
    await pause(options.relistMs ?? RELIST_MS, nap.signal);
    closing.signal.removeEventListener("abort", wake);
    wake = undefined;
  };

  const run = async () => {
    while (!closing.signal.aborted) {
      await idle();
      await pause(options.debounceMs ?? DEBOUNCE_MS, closing.signal);
      if (closing.signal.aborted) return;
      answering = askedAt;
      askedAt = undefined;
      try {
        const listing = await list();
        if (closing.signal.aborted) return;
        backoff.reset();
        seen = Math.max(seen, listing.revision);
        options.onListing(listing);
        answering = undefined;
      } catch (error) {
        if (closing.signal.aborted) return;
        askedAt = answering ?? askedAt ?? monotonicMs();
        answering = undefined;
        options.onTrouble?.(error);
        await backoff.wait(closing.signal);
      }
    }
  };

  const watch: Watch = coordination.watch(prefix, (hint) => {
    if (hint.kind === "resync") replica.doubt();
    else if (hint.revision <= seen) return;
    else replica.hint(hint.keys, hint.revision);
    refresh();
  });
  void run();

  return {
    refresh,
    behindMs() {
      const since = answering ?? askedAt;
      return since === undefined ? 0 : monotonicMs() - since;
    },
    close() {
      closing.abort();
      watch.close();
    },
  };
}
