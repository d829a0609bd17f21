import { z } from "zod";
import { activePassiveSchema, modeSchema } from "./active-schema.js";
import {
  accountNameSchema,
  descriptionSchema,
  entryNameSchema,
  foldersSchema,
  maxSessionsSchema,
  momentSchema,
  networksSchema,
  passwordHashSchema,
  permissionRulesSchema,
  storagePath,
} from "./fields.js";
import { accountLifeSchema, mailSchema } from "./life-schema.js";
import { securitySchema } from "./security-schema.js";

export { accountNameSchema, PERMISSIONS, type Permission, permissionSchema } from "./fields.js";

/** Settings and accounts, as they stand in the store. Strict: an unknown field is refused, never stripped. */

export const accountSchema = z.strictObject({
  name: accountNameSchema,
  enabled: z.boolean().default(true),
  /** argon2id in PHC form. Absent: no login by password. */
  passwordHash: passwordHashSchema.optional(),
  /** OpenSSH public key lines (`ssh-ed25519 AAAA... comment`). */
  publicKeys: z.array(z.string().max(16_384)).max(64).default([]),
  /** What is absent here comes from the first of these that has it (effective.ts). */
  groups: z.array(entryNameSchema).max(16).default([]),
  /** Default: the groups' template, else the account's name. */
  home: storagePath.optional(),
  /** Default: the groups', else everything. */
  permissions: permissionRulesSchema.optional(),
  folders: foldersSchema.default([]),
  maxSessions: maxSessionsSchema.optional(),
  /** Where it may come from; absent: the groups', else from everywhere. */
  allowedAddresses: networksSchema.optional(),
  /** From then on no login. */
  expiresAt: momentSchema.optional(),
  passwordChangedAt: momentSchema.optional(),
  /** Hashes of former passwords, newest first; written by the server. */
  passwordHistory: z.array(passwordHashSchema).max(24).optional(),
  /** For notices. */
  mail: z.email().max(254).optional(),
  description: descriptionSchema.optional(),
});
export type Account = z.infer<typeof accountSchema>;

export const siteSchema = z.strictObject({
  /** Also in the sentinel file on the storage: an unmounted or foreign share is noticed before anything is written. */
  id: z.uuid(),
  name: z.string().min(1).max(64),
  /**
   * `process`: acknowledged bytes of a partial survive the node's process. `power`: they are synced too and survive its
   * host. A whole acknowledged upload is always synced.
   */
  durability: z.enum(["process", "power"]).default("process"),
  sftp: z
    .strictObject({
      /** Offers SHA-1 and CBC algorithms besides the modern ones, for JSch, old curl and the like. */
      legacyAlgorithms: z.boolean().default(false),
      /** From the connection to the login. */
      loginGraceMs: z.int().min(1_000).max(600_000).default(30_000),
      maxAuthAttempts: z.int().min(1).max(20).default(6),
      /** Without a request or a byte moved. 0: never. */
      idleTimeoutMs: z.int().min(0).max(86_400_000).default(900_000),
      /** Between keepalives to a silent client; three unanswered ones end the connection. 0: none. */
      keepaliveMs: z.int().min(0).max(3_600_000).default(30_000),
      maxUnauthenticated: z.int().min(1).max(100_000).default(500),
      maxUnauthenticatedPerAddress: z.int().min(1).max(100_000).default(100),
      maxHandles: z.int().min(1).max(4_096).default(256),
    })
    .prefault({}),
  security: securitySchema.prefault({}),
  /** Who may connect at all: `deny` wins; an empty `allow` allows everybody. */
  addressRules: z.strictObject({ allow: networksSchema.default([]), deny: networksSchema.default([]) }).prefault({}),
  /** Partials that nobody resumed are removed after so long. */
  partialLifetimeHours: z.int().min(1).max(8_760).default(168),
  /**
   * A node without the store's quorum serves on for so long, with the configuration as last known; then it ends its
   * sessions, since an account may have been disabled meanwhile. 0: it ends them at once.
   */
  cutOffGraceSeconds: z.int().min(0).max(86_400).default(60),
  /** Segments of the audit log leave the shared storage when their newest record is so old. 0: never. */
  auditRetentionDays: z.int().min(0).max(36_500).default(0),
  /** Which nodes take partners; may be changed at any time (cluster/active-decide.ts). */
  mode: modeSchema.default("active-active"),
  activePassive: activePassiveSchema.prefault({}),
  accountLife: accountLifeSchema.prefault({}),
  mail: mailSchema.optional(),
});
export type Site = z.infer<typeof siteSchema>;
export type SftpSettings = Site["sftp"];
