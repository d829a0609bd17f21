import { z } from "zod";
import type { Entry } from "#coordination/contract.js";
import type { Effect } from "#storage/contract.js";
import { recordedUsageSchema } from "./usage.js";

/** `ops/<id>` in the store. absent -> COMMITTED -> finished (absent) | REFUSED; absent -> SUPERSEDED. */

const path = z.string();
const effectSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("upload"), path }),
  z.object({ kind: z.literal("remove"), path }),
  z.object({ kind: z.literal("rename"), from: path, path, replace: z.boolean() }),
  z.object({ kind: z.literal("mkdir"), path }),
  z.object({ kind: z.literal("rmdir"), path }),
  z.object({ kind: z.literal("link"), from: path, path }),
]) satisfies z.ZodType<Effect>;

const actorSchema = z.object({
  account: z.string(),
  session: z.string(),
  address: z.string(),
  protocol: z.string(),
  transfer: z.string().optional(),
  path: z.string().optional(),
  target: z.string().optional(),
});

/** Not strict: a newer node of a rolling upgrade may say more. */
const committedSchema = z.object({
  state: z.enum(["COMMITTED", "REFUSED"]),
  store: z.string(),
  effect: effectSchema,
  actor: actorSchema,
  node: z.string(),
  /** Milliseconds since 1970 by the node's clock, for people. */
  at: z.number(),
  inode: z.number().optional(),
  size: z.number().optional(),
  /** The pointer to take away at the end: an upload's own target. */
  pointer: z.object({ account: z.string(), path }).optional(),
  /** What it did to the counters of folders with a quota. */
  usage: recordedUsageSchema.optional(),
});
const supersededSchema = z.object({ state: z.literal("SUPERSEDED"), by: z.string() });
const recordSchema = z.discriminatedUnion("state", [committedSchema, supersededSchema]);

export type CommittedRecord = z.infer<typeof committedSchema>;
export type OpRecord = z.infer<typeof recordSchema>;

/** A closed upload whose commit is still owed (store.putClosed). */
export const closedNoteSchema = z.object({
  record: committedSchema,
  /** The file that it would replace, as it was at the close: another one in its place ends the debt. */
  replaces: z.number().optional(),
});
export type ClosedNote = z.infer<typeof closedNoteSchema>;

export function parseRecord(entry: Entry): OpRecord {
  return recordSchema.parse(JSON.parse(entry.value));
}

/** The incarnation in an operation's id (`<incarnation>-<number>`). */
export function ownerOf(id: string): string {
  const dash = id.indexOf("-");
  return dash < 0 ? id : id.slice(0, dash);
}
