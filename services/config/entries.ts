import { z } from "zod";
import {
  descriptionSchema,
  entryNameSchema,
  foldersSchema,
  maxSessionsSchema,
  momentSchema,
  networksSchema,
  passwordHashSchema,
  permissionRulesSchema,
  sealedSchema,
  storagePathFault,
} from "./fields.js";

/** Entries besides the site's settings and the accounts (schema.ts), as they stand in the store. */

/** `{account}` in a group's home becomes the account's name. */
export function homeOf(template: string, account: string): string {
  return template.replaceAll("{account}", account);
}

/** Settings that accounts inherit: an account's own field wins, then the first of its groups that has it. */
export const groupSchema = z.strictObject({
  name: entryNameSchema,
  description: descriptionSchema.optional(),
  permissions: permissionRulesSchema.optional(),
  /** Relative to the storage root, with `{account}` for the account's name: `partners/{account}`. */
  home: z
    .string()
    .max(1024)
    .refine(
      (template) => storagePathFault(homeOf(template, "a")) === undefined && !/[{}]/.test(homeOf(template, "a")),
      "a path relative to the storage root, without . , .. and .longshore; {account} is the account's name",
    )
    .optional(),
  /** Besides the account's own; at one path the account's counts, then the first group's. */
  folders: foldersSchema.default([]),
  maxSessions: maxSessionsSchema.optional(),
  /** Where its accounts may come from; absent: from everywhere. */
  allowedAddresses: networksSchema.optional(),
});
export type Group = z.infer<typeof groupSchema>;

export const hostFingerprintSchema = z
  .string()
  .regex(/^SHA256:[A-Za-z0-9+/]{43}$/, "a fingerprint as OpenSSH prints it: SHA256:... (43 characters)");

/** A remote host that actions send to or fetch from. */
export const profileSchema = z.strictObject({
  id: entryNameSchema,
  description: descriptionSchema.optional(),
  protocol: z.literal("sftp"),
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535).default(22),
  user: z.string().min(1).max(256),
  /** Its password, sealed. */
  sealed: sealedSchema.optional(),
  /** Id of the key that it logs in with (`keys/<id>`, with its private part). */
  key: entryNameSchema.optional(),
  /** Host keys that the other side may show; a connection to any other one is refused. */
  hostKeys: z.array(hostFingerprintSchema).min(1).max(16),
});
export type Profile = z.infer<typeof profileSchema>;

/** A named SSH key. Without `sealed` it is a public one only. */
export const sshKeySchema = z.strictObject({
  kind: z.literal("ssh-key"),
  id: entryNameSchema,
  description: descriptionSchema.optional(),
  /** OpenSSH line. */
  publicKey: z.string().max(16_384),
  /** The private key (OpenSSH or PEM, without a passphrase), sealed. */
  sealed: sealedSchema.optional(),
});
export type SshKey = z.infer<typeof sshKeySchema>;

export const certificateSchema = z.strictObject({
  id: entryNameSchema,
  description: descriptionSchema.optional(),
  /** PEM, the server's own certificate first. */
  chain: z.string().max(65_536),
  /** The private key in PEM, sealed. */
  sealed: sealedSchema.optional(),
});
export type Certificate = z.infer<typeof certificateSchema>;

export const ROLES = ["viewer", "operator", "admin"] as const;
export const roleSchema = z.enum(ROLES);
export type Role = z.infer<typeof roleSchema>;

export const administratorTokenSchema = z.strictObject({
  id: entryNameSchema,
  /** SHA-256 (hex) of the 32 random bytes that the token carries. */
  hash: z.string().regex(/^[0-9a-f]{64}$/, "64 hex digits"),
  scopes: z.array(z.string().regex(/^(?:\*|[a-z][a-z0-9:-]{0,31})$/, "a scope, or *")).max(32),
  createdAt: momentSchema,
  expiresAt: momentSchema.optional(),
  description: descriptionSchema.optional(),
});
export type AdministratorToken = z.infer<typeof administratorTokenSchema>;

/** A login of the admin API. */
export const administratorSchema = z.strictObject({
  name: entryNameSchema,
  role: roleSchema,
  enabled: z.boolean().default(true),
  passwordHash: passwordHashSchema.optional(),
  mail: z.email().max(254).optional(),
  description: descriptionSchema.optional(),
  tokens: z.array(administratorTokenSchema).max(64).default([]),
});
export type Administrator = z.infer<typeof administratorSchema>;
