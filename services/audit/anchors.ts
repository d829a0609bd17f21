import { z } from "zod";
import type { ChainPosition } from "./chain.js";

/**
 * Where a node's chain stood on the shared storage when the node last said so, kept in the coordination store: whoever can
 * write the storage can cut off a chain's newest lines, or write a whole new chain, and no hash in it tells.
 */
export const anchorSchema = z.object({
  /** The node's name. */
  node: z.string(),
  seq: z.int().min(1),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** ISO 8601, for people. */
  at: z.string(),
});
export type Anchor = z.infer<typeof anchorSchema>;

/** By node id. */
export type Anchors = ReadonlyMap<string, Anchor>;

/** What a chain says of its anchor when all of it was read. `seen`: its line with the anchor's number, if it has one. */
export function anchorFault(
  anchor: Anchor,
  last: ChainPosition | undefined,
  seen: ChainPosition | undefined,
): "newest-missing" | "not-anchored" | undefined {
  if ((last?.seq ?? 0) < anchor.seq) return "newest-missing";
  // a line older than the chain's first was removed by retention, and can't be compared
  return seen !== undefined && seen.hash !== anchor.hash ? "not-anchored" : undefined;
}
