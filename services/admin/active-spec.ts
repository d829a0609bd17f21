import { z } from "zod";
import { ACTIVE_CHANGES } from "#cluster/active-decide.js";
import { NODE_STATES } from "#cluster/contract.js";
import { MODES } from "#config/active-schema.js";
import type { RouteSpec } from "./route.js";

export const ACTIVE_LIMIT = 4_096;

export const holderSchema = z.strictObject({
  id: z.string(),
  name: z.string(),
  since: z.string().meta({ description: "When it became the active node, by the clock of who made it that." }),
  how: z.enum(ACTIVE_CHANGES),
  from: z.string().nullable().meta({ description: "The active node before, where it is known." }),
  generation: z.int().meta({ description: "Grows with each change." }),
});

const node = z.strictObject({
  id: z.string(),
  name: z.string(),
  state: z.enum(NODE_STATES),
  reasons: z.array(z.string()),
  active: z.boolean(),
  place: z
    .int()
    .meta({ description: "In the order of those that could take over, from 1; nodes that are unwell have one, too." }),
  sessions: z.number(),
  transfers: z.number(),
});

export const switchSchema = z.strictObject({
  /** Name or id; absent: the first in the order that isn't active now. */
  to: z.string().min(1).max(64).optional(),
  /** Says what would be done, and does nothing. */
  dryRun: z.boolean().default(false),
});

export const ROUTES_OF_ACTIVE: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/cluster/active",
    id: "getActive",
    summary: "Which node takes partners in the mode active-passive, and who would take over",
    access: { scope: "nodes", role: "viewer" },
    answers: {
      200: z.strictObject({
        mode: z.enum(MODES),
        order: z.array(z.string()),
        active: holderSchema.nullable(),
        nodes: z.array(node),
      }),
    },
  },
  {
    method: "POST",
    path: "/api/v1/cluster/active/switch",
    id: "switchActive",
    summary: "Make another node the active one; transfers that run on the former one go on there",
    access: { scope: "nodes", role: "operator" },
    body: { schema: switchSchema, limit: ACTIVE_LIMIT },
    answers: {
      200: z.strictObject({
        from: z.string().nullable(),
        to: z.string(),
        switched: z.boolean().meta({ description: "False: it is the active one already, or `dryRun` was asked for." }),
        dryRun: z.boolean(),
      }),
    },
  },
];
