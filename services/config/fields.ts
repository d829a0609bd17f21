import { z } from "zod";
import { parseNetwork } from "#lib/networks.js";

/** Fields that several kinds of entries share. Strict: an unknown field is refused, never stripped. */

export const PERMISSIONS = ["list", "read", "write", "overwrite", "delete", "rename", "mkdir", "set-times"] as const;
export const permissionSchema = z.enum(PERMISSIONS);
export type Permission = z.infer<typeof permissionSchema>;

export const virtualPath = z
  .string()
  .max(4096)
  .regex(/^\/(?!.*(?:\/\/|\0))/, "an absolute path that starts with / and has no empty part")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not hold . or ..");

/** What is wrong with a path below the storage root, or undefined. */
export function storagePathFault(path: string): string | undefined {
  if (path === "" || path.length > 1024 || /^\/|\0/.test(path)) return "a path relative to the storage root";
  const bad = path.split("/").some((part) => part === "" || part === "." || part === ".." || part === ".longshore");
  return bad ? "must not hold empty, . , .. or .longshore parts" : undefined;
}

/** Relative to the storage root; never leads out of it. */
export const storagePath = z.string().check((context) => {
  const message = storagePathFault(context.value);
  if (message !== undefined) context.issues.push({ code: "custom", message, input: context.value });
});

export const accountNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/, "1 to 64 letters, digits, or _ . @ - (not first)");

/** Of groups, profiles, keys, certificates and administrators. */
export const entryNameSchema = accountNameSchema;

/** `192.0.2.0/24`, `2001:db8::/32`, or one address. */
export const networkSchema = z
  .string()
  .max(64)
  .refine((text) => parseNetwork(text) !== undefined, "an address or a network such as 192.0.2.0/24");

export const networksSchema = z.array(networkSchema).max(1_024);

/** The rule with the longest path that holds the file counts, alone. */
export const permissionRulesSchema = z
  .array(z.strictObject({ path: virtualPath, allow: z.array(permissionSchema) }))
  .max(256);
export type PermissionRule = z.infer<typeof permissionRulesSchema>[number];

/** A virtual folder: a path of an account that lies elsewhere in the storage than its home. */
export const folderSchema = z.strictObject({
  /** Where the account sees it. Never `/`: that is the home. */
  path: virtualPath.refine(
    (path) => path.length > 1 && !path.endsWith("/"),
    "a path below /, without a slash at its end",
  ),
  /** Where it lies, relative to the storage root; made at its first use. */
  target: storagePath,
  /** What may be done in it; absent: what the account's rules say of its path. A longer rule of the account still counts. */
  allow: z.array(permissionSchema).optional(),
  /** Bytes that may lie in it. */
  quotaBytes: z.int().min(0).optional(),
});
export type Folder = z.infer<typeof folderSchema>;

export const foldersSchema = z.array(folderSchema).max(64);

/** Sessions of one account at once, on all nodes together. */
export const maxSessionsSchema = z.int().min(1).max(100_000);

/** ISO 8601 with a zone, such as 2027-01-31T00:00:00Z. */
export const momentSchema = z.iso.datetime({ offset: true });

export const descriptionSchema = z.string().max(1024);

/** An envelope of lib/seal.ts. Its context is always the store key of the entry that it lies in. */
export const sealedSchema = z
  .string()
  .max(131_072)
  .regex(/^ls1:[0-9a-f]{8}:[A-Za-z0-9_-]+$/, "a sealed value (ls1:...)");

/** argon2id in PHC form. */
export const passwordHashSchema = z
  .string()
  .max(1_024)
  .regex(/^\$argon2id\$/, "an argon2id hash");
