import { z } from "zod";
import { storagePath } from "#config/fields.js";
import type { RouteSpec } from "./route.js";
import { pageQuery } from "./schemas.js";

export const recountSchema = z.strictObject({ target: storagePath });

const folder = z.strictObject({
  target: z.string(),
  usedBytes: z.int().min(0).nullable().meta({ description: "Null: not counted yet." }),
  limitBytes: z.int().min(0),
  countedAt: z.string().nullable(),
  exact: z.boolean(),
});

export const ROUTES_OF_USAGE: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/usage",
    id: "listUsage",
    summary: "How full the folders with a quota are",
    access: { scope: "config", role: "viewer" },
    query: pageQuery,
    answers: { 200: z.strictObject({ folders: z.array(folder), next: z.string().optional() }) },
    tagged: true,
  },
  {
    method: "POST",
    path: "/api/v1/usage/recount",
    id: "recountUsage",
    summary: "Have a folder with a quota counted anew",
    access: { scope: "config", role: "operator" },
    body: { schema: recountSchema, limit: 4_096 },
    answers: { 202: z.strictObject({ target: z.string() }) },
  },
];
