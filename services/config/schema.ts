import { z } from "zod";
import { accountLifeSchema, mailSchema } from "./life-schema.js";

/** Settings and accounts, as they stand in the store. Strict: an unknown field is refused, never stripped. */

export const PERMISSIONS = ["list", "read", "write", "overwrite", "delete", "rename", "mkdir", "set-times"] as const;
export const permissionSchema = z.enum(PERMISSIONS);
export type Permission = z.infer<typeof permissionSchema>;

const virtualPath = z
  .string()
  .max(4096)
  .regex(/^\/(?!.*(?:\/\/|\0))/, "an absolute path that starts with / and has no empty part")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not hold . or ..");

/** Relative to the storage root; never leads out of it. */
const homePath = z
  .string()
  .min(1)
  .max(1024)
  .regex(/^[^/\0]/, "a path relative to the storage root")
  .refine(
    (path) => path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && part !== ".longshore"),
    "must not hold empty, . , .. or .longshore parts",
  );

export const accountNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/, "1 to 64 letters, digits, or _ . @ - (not first)");

export const accountSchema = z.strictObject({
  name: accountNameSchema,
  enabled: z.boolean().default(true),
  /** argon2id in PHC form. Absent: no login by password. */
  passwordHash: z
    .string()
    .regex(/^\$argon2id\$/, "an argon2id hash")
    .optional(),
  /** OpenSSH public key lines (`ssh-ed25519 AAAA... comment`). */
  publicKeys: z.array(z.string().max(16_384)).max(64).default([]),
  /** Default: the account's name. */
  home: homePath.optional(),
  /** The rule with the longest path that holds the file counts, alone. */
  permissions: z
    .array(z.strictObject({ path: virtualPath, allow: z.array(permissionSchema) }))
    .max(256)
    .default([{ path: "/", allow: [...PERMISSIONS] }]),
  /** From then on no login: ISO 8601 with a zone. */
  expiresAt: z.iso.datetime({ offset: true }).optional(),
  passwordChangedAt: z.iso.datetime({ offset: true }).optional(),
  /** Hashes of former passwords, newest first; written by the server. */
  passwordHistory: z
    .array(
      z
        .string()
        .max(1_024)
        .regex(/^\$argon2id\$/),
    )
    .max(24)
    .optional(),
  /** For notices. */
  mail: z.email().max(254).optional(),
  description: z.string().max(1024).optional(),
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
  /** Partials that nobody resumed are removed after so long. */
  partialLifetimeHours: z.int().min(1).max(8_760).default(168),
  accountLife: accountLifeSchema.prefault({}),
  mail: mailSchema.optional(),
});
export type Site = z.infer<typeof siteSchema>;
export type SftpSettings = Site["sftp"];
