import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";

/** What an operator wishes of a node. It outlives the node's lease: a node that restarts while draining goes on draining. */
export const DRAIN = "drain";

/** Both are idempotent and last-writer-wins. They throw `StoreUnavailableError`, or `OutcomeUnknownError`: repeat. */
export interface Intents {
  drain(nodeId: string): Promise<void>;
  undrain(nodeId: string): Promise<void>;
}

export function createIntents(options: { readonly coordination: Coordination }): Intents {
  const { coordination } = options;
  return {
    async drain(nodeId) {
      await coordination.transact({ compare: [], apply: [{ put: keys.intent(nodeId), value: DRAIN }] });
    },
    async undrain(nodeId) {
      await coordination.transact({ compare: [], apply: [{ delete: keys.intent(nodeId) }] });
    },
  };
}
