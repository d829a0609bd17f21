import { z } from "zod";
import { certificateSchema, groupSchema, profileSchema, sshKeySchema } from "#config/entries.js";
import type { Access } from "./principal.js";
import type { RouteSpec } from "./route.js";
import { pageQuery } from "./schemas.js";

const ENTRY_LIMIT = 262_144;
const DOCUMENT_LIMIT = 8 * 1024 * 1024;
const SMALL_LIMIT = 1_024;

const looks: Access = { scope: "config", role: "viewer" };
const writes: Access = { scope: "config", role: "admin" };
/** A document holds administrators, too: who may write it could make himself anything. */
const everything: Access = { scope: "*", role: "admin" };

const revision = z.int().min(0);
const next = z.string().optional();
/** What only we say may come back from a client that edits an answer. */
const said = { hasSecret: z.unknown().optional(), revision: z.unknown().optional() };
const secret = z.string().nullish().meta({ description: "Absent: it stays; null: there is none any more." });

const group = groupSchema.extend({ revision });
const groupBody = groupSchema.extend({ ...said, name: groupSchema.shape.name.optional() });
const profile = profileSchema.omit({ sealed: true }).extend({ hasSecret: z.boolean(), revision });
const profileBody = profileSchema.extend({ ...said, id: profileSchema.shape.id.optional(), secret });
const key = sshKeySchema.omit({ sealed: true }).extend({ hasSecret: z.boolean(), revision });
const keyBody = sshKeySchema.extend({
  ...said,
  id: sshKeySchema.shape.id.optional(),
  kind: sshKeySchema.shape.kind.optional(),
  publicKey: sshKeySchema.shape.publicKey.optional(),
  secret,
});
const certificate = certificateSchema.omit({ sealed: true }).extend({ hasSecret: z.boolean(), revision });
const certificateBody = certificateSchema.extend({ ...said, id: certificateSchema.shape.id.optional(), secret });

const described = z.strictObject({
  entry: z.string(),
  change: z.enum(["add", "change", "remove"]),
  fields: z.array(z.strictObject({ field: z.string(), before: z.unknown().optional(), after: z.unknown().optional() })),
});
const fault = z.strictObject({ path: z.string(), message: z.string() });
const planned = z.strictObject({ revision, changes: z.array(described), faults: z.array(fault) });
const applied = z.strictObject({ revision, changes: z.array(described) });
const document = z.looseObject({ version: z.number() });
const flag = z.enum(["true", "false"]).optional();
const pruning = z.strictObject({ prune: flag });

function entryRoutes(
  collection: string,
  Name: string,
  what: string,
  body: z.ZodType,
  shown: z.ZodType,
): readonly RouteSpec[] {
  const path = `/api/v1/${collection}`;
  return [
    {
      method: "GET",
      path,
      id: `list${Name}s`,
      summary: `All ${what}s`,
      access: looks,
      query: pageQuery,
      answers: { 200: z.strictObject({ [collection]: z.array(shown), next }) },
      tagged: true,
    },
    {
      method: "GET",
      path: `${path}/:name`,
      id: `get${Name}`,
      summary: `One ${what}`,
      access: looks,
      answers: { 200: shown },
      tagged: true,
    },
    {
      method: "PUT",
      path: `${path}/:name`,
      id: `put${Name}`,
      summary: `Make or replace a ${what}`,
      access: writes,
      body: { schema: body, limit: ENTRY_LIMIT },
      answers: { 200: shown, 201: shown },
      precondition: "heeded",
      tagged: true,
    },
    {
      method: "DELETE",
      path: `${path}/:name`,
      id: `delete${Name}`,
      summary: `Remove a ${what}`,
      access: writes,
      answers: { 204: "empty" },
      precondition: "heeded",
    },
  ];
}

export const ROUTES_OF_CONFIGURATION: readonly RouteSpec[] = [
  ...entryRoutes("groups", "Group", "group", groupBody, group),
  ...entryRoutes("profiles", "Profile", "connection profile", profileBody, profile),
  ...entryRoutes("keys", "Key", "SSH key", keyBody, key),
  ...entryRoutes("certificates", "Certificate", "certificate", certificateBody, certificate),
  {
    method: "GET",
    path: "/api/v1/config",
    id: "getConfig",
    summary: "The whole site as one document; with `hashes=true` for full administrators only",
    access: looks,
    query: z.strictObject({ hashes: flag }),
    answers: { 200: z.strictObject({ revision, document }) },
    tagged: true,
  },
  {
    method: "PUT",
    path: "/api/v1/config",
    id: "putConfig",
    summary: "Make the site what a document says, all of it or nothing",
    access: everything,
    query: pruning,
    body: { schema: document, limit: DOCUMENT_LIMIT },
    answers: { 200: applied },
    precondition: "heeded",
    tagged: true,
  },
  {
    method: "POST",
    path: "/api/v1/config/diff",
    id: "diffConfig",
    summary: "What a document would change, and what is wrong with it",
    access: writes,
    query: pruning,
    body: { schema: document, limit: DOCUMENT_LIMIT },
    answers: { 200: planned },
  },
  {
    method: "GET",
    path: "/api/v1/config/history",
    id: "configHistory",
    summary: "The newest changes: who, when, what",
    access: looks,
    answers: {
      200: z.strictObject({
        changes: z.array(
          z.strictObject({
            revision,
            at: z.string(),
            by: z.string(),
            summary: z.string(),
            entries: z.array(z.string()),
          }),
        ),
      }),
    },
  },
  {
    method: "POST",
    path: "/api/v1/config/rollback",
    id: "rollbackConfig",
    summary: "Make the configuration what it was at a revision of the history",
    access: everything,
    body: { schema: z.strictObject({ revision: z.int().min(1), dryRun: z.boolean().optional() }), limit: SMALL_LIMIT },
    answers: { 200: z.union([planned, applied]) },
  },
  {
    method: "POST",
    path: "/api/v1/config/rotate-key",
    id: "rotateClusterKey",
    summary: "Seal every secret with the cluster key file's first key",
    access: writes,
    answers: { 200: z.strictObject({ key: z.string(), resealed: z.int() }) },
  },
];
