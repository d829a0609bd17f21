import { z } from "zod";
import { MAX_ARCHIVE_BYTES } from "#backup/archive.js";
import { SCOPES } from "#backup/contents.js";
import type { RouteSpec } from "./route.js";

const flag = z.enum(["true", "false"]).optional();
const names = z.array(z.string());

export const ROUTES_OF_BACKUP: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/backup",
    id: "backup",
    summary: "The site's data at one revision, or this node's, as application/x-tar",
    access: { scope: "backup", role: "admin" },
    query: z.strictObject({ scope: z.enum(SCOPES).optional() }),
    answers: { 200: "text" },
  },
  {
    method: "POST",
    path: "/api/v1/restore",
    id: "restore",
    summary: "Make the site what such a tar says; the body is application/x-tar",
    // Whoever restores makes administrators, too.
    access: { scope: "*", role: "admin" },
    query: z.strictObject({ dryRun: flag, adoptStorage: flag }),
    archive: { type: "application/x-tar", limit: MAX_ARCHIVE_BYTES },
    answers: {
      200: z.strictObject({
        dryRun: z.boolean(),
        revision: z.int(),
        backup: z.looseObject({}),
        counts: z.strictObject({ added: z.int(), changed: z.int(), removed: z.int(), unchanged: z.int() }),
        added: names,
        changed: names,
        removed: names,
      }),
    },
  },
];
