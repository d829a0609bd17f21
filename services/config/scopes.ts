import { z } from "zod";

/** What an administrator's token is good for, within his role. `read`: all that a viewer may read. `*`: everything. */
export const SCOPES = ["read", "accounts", "nodes", "security", "config", "backup", "*"] as const;
export type Scope = (typeof SCOPES)[number];

export const scopesSchema = z.array(z.enum(SCOPES)).min(1).max(SCOPES.length);
