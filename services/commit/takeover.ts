import type { Coordination } from "#coordination/contract.js";
import { LeaseGoneError, OutcomeUnknownError } from "#coordination/errors.js";
import { keys } from "#coordination/keys.js";
import { LongshoreError } from "#lib/errors.js";
import { isProcessGone, parseIncarnation } from "#lib/incarnation.js";
import type { Partial, Store } from "#storage/contract.js";
import { ownerOf, parseRecord } from "./records.js";

/** What the store says of an upload that somebody else may still own. */
export type Claim =
  /** It can't be committed any more (or never was to be): its bytes may be taken. */
  | "free"
  /** It is committed: place and finish it, then there is no partial. */
  | "committed";

/**
 * Makes sure that an upload of another incarnation can't be committed from now on (commit.md, step 8). SUPERSEDED hangs on
 * the old owner's lease: it is needed as long as that owner could commit, and no longer.
 */
export async function supersede(coordination: Coordination, id: string, by: string): Promise<Claim> {
  for (let round = 0; round < 10; round += 1) {
    const ownerKey = keys.owner(ownerOf(id));
    const owner = await coordination.get(ownerKey);
    if (owner === undefined) {
      // read after the owner was seen gone: whatever it had applied, it had applied by then
      const entry = await coordination.get(keys.op(id));
      return entry !== undefined && parseRecord(entry).state === "COMMITTED" ? "committed" : "free";
    }
    try {
      const result = await coordination.transact({
        compare: [
          { key: keys.op(id), is: "absent" },
          { key: ownerKey, is: "created-at", revision: owner.createRevision },
        ],
        apply: [
          {
            put: keys.op(id),
            value: JSON.stringify({ state: "SUPERSEDED", by }),
            ...(owner.lease !== undefined && { lease: owner.lease }),
          },
        ],
      });
      if (result.applied) return "free";
      const found = result.found[0]?.[0];
      if (found !== undefined) return parseRecord(found).state === "COMMITTED" ? "committed" : "free";
    } catch (error) {
      // the lease ended in between, or our own put may be there: the next round sees
      if (!(error instanceof LeaseGoneError || error instanceof OutcomeUnknownError)) throw error;
    }
  }
  throw new LongshoreError("busy", "the upload's old owner keeps changing: try again");
}

/** How far a partial's bytes can be trusted; pure. */
export interface Trust {
  /** No old writer can still write into its inode. */
  readonly noWriter: boolean;
  /** Bytes may be lost with the old writer's host: only synced ones count. */
  readonly onlySynced: boolean;
}

export function trustOf(
  partial: Partial,
  released: boolean,
  tainted: boolean,
  local: boolean,
  ownHost: string | undefined,
): Trust {
  const owner = ownerOf(partial.id);
  const sameHost = parseIncarnation(owner)?.host === ownHost;
  return {
    noWriter: !tainted && (released || isProcessGone(owner)),
    onlySynced: !released && !local && !sameHost,
  };
}

/** The partial, with the bytes that count (its file may be longer than what was synced before its host died). */
export async function countable(store: Store, partial: Partial, trust: Trust): Promise<number> {
  return trust.onlySynced ? Math.min(partial.prefix, await store.syncedBytes(partial.directory)) : partial.prefix;
}
