import { z } from "zod";
import { anchorsSchema } from "#audit/anchors.js";
import { auditQuerySchema } from "#audit/query.js";
import type { RouteSpec } from "./route.js";

export const ROUTES_OF_AUDIT: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/audit",
    id: "searchAudit",
    summary: "The site's audit log, newest first",
    access: { scope: "security", role: "viewer" },
    query: auditQuerySchema,
    // Records of kinds that come later say more.
    answers: { 200: z.looseObject({ records: z.array(z.looseObject({})) }) },
  },
  {
    method: "GET",
    path: "/api/v1/audit/anchors",
    id: "auditAnchors",
    summary: "How far each node's audit chain went, as the store knows",
    access: { scope: "security", role: "viewer" },
    answers: { 200: anchorsSchema },
  },
];
