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

/** By node id. Undefined: the store has one that can't be read. */
export type Anchors = ReadonlyMap<string, Anchor | undefined>;

/** As the admin API gives them. */
export const anchorsSchema = z.object({
  anchors: z.record(z.string(), anchorSchema),
  /** Ids of the nodes whose anchor can't be read. A node of an older version names none. */
  damaged: z.array(z.string()).default([]),
});
export type AnchorsAnswer = z.infer<typeof anchorsSchema>;

export function answerOf(all: Anchors): AnchorsAnswer {
  const anchors: AnchorsAnswer["anchors"] = {};
  for (const [id, anchor] of all) if (anchor !== undefined) anchors[id] = anchor;
  return { anchors, damaged: [...all].filter(([, anchor]) => anchor === undefined).map(([id]) => id) };
}

export function anchorsOf({ anchors, damaged }: AnchorsAnswer): Anchors {
  return new Map<string, Anchor | undefined>([
    ...damaged.map((id): [string, undefined] => [id, undefined]),
    ...Object.entries(anchors),
  ]);
}

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
