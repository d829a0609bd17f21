import { z } from "zod";

/** `active-active`: every node serves. `active-passive`: one does, the others are warm and take over. */
export const MODES = ["active-active", "active-passive"] as const;
export type Mode = (typeof MODES)[number];
export const modeSchema = z.enum(MODES);

/** As in a node's own settings (node/settings.ts). */
const nodeNameSchema = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/);

/** Heeded in the mode `active-passive` only. */
export const activePassiveSchema = z.strictObject({
  /** Who takes over first. Nodes that aren't named come after these, by their slots. */
  order: z
    .array(nodeNameSchema)
    .max(255)
    .refine((names) => new Set(names).size === names.length, "names a node twice")
    .default([]),
  /**
   * How long a node that is no longer the active one lets its sessions go on while any of them transfers; then they are
   * ended, and can be resumed on the new one. Seconds.
   */
  drainSeconds: z.int().min(0).max(604_800).default(3_600),
  /** An active node whose storage or audit record fails for so long hands over to a healthy one. Seconds. */
  unhealthySeconds: z.int().min(1).max(3_600).default(10),
});
export type ActivePassive = z.infer<typeof activePassiveSchema>;
