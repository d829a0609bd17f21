import { type Follower, follow } from "#config/follow.js";
import type { Coordination, Entry } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { type NodeRecord, nodeRecordSchema } from "./contract.js";

export interface MembersView {
  start(): void;
  /** Idempotent. */
  stop(): void;
  /** Nodes that live by the store's reckoning, by slot. */
  list(): readonly NodeRecord[];
  /** How long the list may have been old, in milliseconds; 0: it isn't. */
  behindMs(): number;
  /** Calls back after each listing; returns how to stop that. */
  onChange(callback: (members: readonly NodeRecord[]) => void): () => void;
}

/** Heartbeats come each second from each node: a listing for each one would be a listing for nobody. */
const DEBOUNCE_MS = 500;

/** Follows `nodes/`, for status pages and to notice that another node knows a newer configuration. */
export function createMembersView(options: { readonly coordination: Coordination }): MembersView {
  const callbacks = new Set<(members: readonly NodeRecord[]) => void>();
  let members: readonly NodeRecord[] = [];
  let follower: Follower | undefined;
  return {
    start() {
      follower ??= follow({
        coordination: options.coordination,
        prefix: keys.nodePrefix,
        debounceMs: DEBOUNCE_MS,
        onListing(listing) {
          members = decodeMembers(listing.entries);
          for (const callback of [...callbacks]) callback(members);
        },
      });
    },
    stop: () => follower?.close(),
    list: () => members,
    behindMs: () => follower?.behindMs() ?? 0,
    onChange(callback) {
      callbacks.add(callback);
      return () => void callbacks.delete(callback);
    },
  };
}

/** Records that can be read, by slot; one of an unknown form is left out rather than hiding the others. */
export function decodeMembers(entries: readonly Entry[]): readonly NodeRecord[] {
  const members = entries.flatMap((entry) => {
    try {
      const parsed = nodeRecordSchema.safeParse(JSON.parse(entry.value));
      return parsed.success ? [parsed.data] : [];
    } catch {
      return [];
    }
  });
  return members.sort((a, b) => a.slot - b.slot);
}
