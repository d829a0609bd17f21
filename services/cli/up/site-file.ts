import { z } from "zod";
import { CliError, EXIT } from "../errors.js";
import { readIfThere } from "../files.js";
import type { SiteLayout } from "../layout.js";

export const MODES = ["cluster", "standalone"] as const;

/** What a site keeps from one `up` to the next, so that partners find it where it was. */
export const siteFileSchema = z.strictObject({
  version: z.literal(1),
  /** The prefix of the store's keys. */
  site: z.string(),
  mode: z.enum(MODES),
  basePort: z.int(),
  nodes: z.int(),
  /** Whether the admin ports speak HTTPS. Absent in files of 0.1.0 and before: they don't. */
  tls: z.boolean().default(false),
});
export type SiteFile = z.infer<typeof siteFileSchema>;

/** Undefined before the first `up`. */
export function readSiteFile(layout: SiteLayout): SiteFile | undefined {
  const text = readIfThere(layout.siteFile);
  if (text === undefined) return undefined;
  const parsed = siteFileSchema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new CliError(EXIT.failed, `${layout.siteFile} isn't from this version: ${z.prettifyError(parsed.error)}`);
}
