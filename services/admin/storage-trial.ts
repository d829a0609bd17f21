import type Router from "@koa/router";
import { z } from "zod";
import { asLongshoreError } from "#lib/errors.js";
import { TRIAL_ACTS } from "#storage/contract.js";
import { readValid } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import type { RouteSpec } from "./route.js";

/** A mount that hangs answers nobody. */
const PATIENCE_MS = 4_000;
const BODY_LIMIT = 1_024;

const trialSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .meta({ description: "Of the trial, made at random." }),
  act: z.enum(TRIAL_ACTS).meta({
    description:
      "`create`: a file, exclusively. `look`: what is there. `rename`: to its other name. `remove`: both names.",
  }),
});

export const ROUTES_OF_STORAGE: readonly RouteSpec[] = [
  {
    method: "POST",
    path: "/api/v1/storage/trial",
    id: "tryStorage",
    summary: "This node's half of a trial of the shared storage",
    access: { scope: "nodes", role: "operator" },
    body: { schema: trialSchema, limit: BODY_LIMIT },
    answers: {
      200: z.strictObject({
        node: z.string(),
        outcome: z.enum(["done", "exists", "missing"]),
        note: z.string().optional().meta({ description: "Which node created what is under the name." }),
        movedNote: z.string().optional().meta({ description: "The same for its other name." }),
      }),
    },
  },
];

export function storageTrialRoutes(router: Router, { node }: AdminParts): void {
  router.post("/api/v1/storage/trial", async (ctx) => {
    const { name, act } = await readValid(ctx.req, BODY_LIMIT, trialSchema, "the trial isn't valid");
    const answer = await inTime(node.tryStorage(name, act));
    ctx.body = { node: node.identity.name, ...answer };
  });
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new HttpError(503, "No answer", "the storage doesn't answer")), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    if (error instanceof HttpError) throw error;
    // The storage's own words: who asks wants to know just that.
    const { message } = asLongshoreError(error, "the storage fails");
    throw new HttpError(503, "The storage fails", message);
  } finally {
    clearTimeout(timer);
  }
}
