import { z } from "zod";
import type { Mode } from "#config/active-schema.js";
import { type AdminAccess, askAdmin } from "../admin-client.js";

const siteSchema = z.looseObject({ mode: z.string(), revision: z.int() });

/** Sets which nodes of the site take partners, where that is another mode now. */
export async function ensureMode(access: AdminAccess, mode: Mode): Promise<void> {
  const path = "/api/v1/site";
  const site = siteSchema.parse(await askAdmin(access, path));
  if (site.mode === mode) return;
  const headers = { "if-match": `"${site.revision}"` };
  await askAdmin(access, path, { method: "PUT", headers, body: { ...site, mode } });
}
