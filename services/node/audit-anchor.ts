import { type Anchor, type Anchors, anchorSchema } from "#audit/anchors.js";
import type { ChainPosition } from "#audit/chain.js";
import type { Membership, NodeIdentity } from "#cluster/contract.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { pause } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";

export interface AuditAnchorOptions {
  readonly coordination: Coordination;
  readonly identity: NodeIdentity;
  readonly membership: Membership;
  /** Up to where the chain is certainly on the shared storage. */
  readonly shipped: () => ChainPosition | undefined;
  readonly logger: Logger;
  /** Default 5,000. */
  readonly everyMs?: number;
}

/** What was recorded within this before the storage was tampered with can be cut off unnoticed; a busy node writes no more. */
const EVERY_MS = 5_000;

/** Says in the store, now and then, how far this node's chain goes. Returns how to stop that. */
export function anchorAudit(options: AuditAnchorOptions): () => Promise<void> {
  const { coordination, identity, membership, shipped, logger } = options;
  const stopping = new AbortController();
  let said = 0;

  const say = async () => {
    const at = shipped();
    const standing = membership.current();
    if (at === undefined || at.seq <= said || standing === undefined || !membership.usable()) return;
    const anchor: Anchor = { node: identity.name, seq: at.seq, hash: at.hash, at: new Date().toISOString() };
    const owner = keys.owner(standing.incarnation);
    try {
      const { applied } = await coordination.transact({
        // a process that slept and woke up must not take the anchor back
        compare: [{ key: owner, is: "created-at", revision: standing.ownerRevision }],
        apply: [{ put: keys.auditAnchor(identity.id), value: JSON.stringify(anchor) }],
      });
      if (applied) said = at.seq;
    } catch (error) {
      logger.debug("the audit log's anchor is written later", { error: String(error) });
    }
  };

  const running = (async () => {
    while (!stopping.signal.aborted) {
      await pause(options.everyMs ?? EVERY_MS, stopping.signal);
      await say();
    }
  })();
  return () => {
    stopping.abort();
    return running;
  };
}

/** What the store knows of all nodes' chains, those of nodes that are no more included. */
export async function readAnchors(coordination: Coordination): Promise<Anchors> {
  const { entries } = await coordination.list(keys.auditAnchorPrefix);
  return new Map(entries.map(({ key, value }) => [key.slice(keys.auditAnchorPrefix.length), anchorIn(value)]));
}

function anchorIn(value: string): Anchor | undefined {
  try {
    return anchorSchema.parse(JSON.parse(value));
  } catch {
    return undefined;
  }
}
