import { z } from "zod";
import { accountNameSchema } from "./schema.js";

/**
 * `viewer` only reads. `operator` may also drain nodes, end sessions and handle bans. `admin` may do everything. Each one
 * includes the ones before it.
 */
export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** What a token is good for, within its administrator's role. `read`: all that a viewer may read. `*`: everything. */
export const SCOPES = ["read", "accounts", "nodes", "security", "config", "backup", "*"] as const;
export type Scope = (typeof SCOPES)[number];

export const scopesSchema = z.array(z.enum(SCOPES)).min(1).max(SCOPES.length);

export const tokenIdSchema = z.string().regex(/^[0-9a-f]{12}$/, "12 hexadecimal digits");

const adminTokenSchema = z.strictObject({
  id: tokenIdSchema,
  /** SHA-256 of the whole token, in hexadecimal digits. The token has 32 random bytes: nothing slower is needed. */
  hash: z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 hash"),
  scopes: scopesSchema,
  createdAt: z.iso.datetime(),
  /** Absent: it never expires. */
  expiresAt: z.iso.datetime().optional(),
});
export type AdminToken = z.infer<typeof adminTokenSchema>;

/** More than anybody needs, and few enough to keep the entry small. */
export const MAX_TOKENS = 32;

/** `config/administrators/<name>`: who may administer the site. */
export const administratorSchema = z.strictObject({
  name: accountNameSchema,
  role: z.enum(ROLES),
  enabled: z.boolean().default(true),
  description: z.string().max(1024).optional(),
  tokens: z.array(adminTokenSchema).max(MAX_TOKENS).default([]),
});
export type Administrator = z.infer<typeof administratorSchema>;
