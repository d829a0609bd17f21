import { z } from "zod";

/** The site's settings about the life of accounts, and the mail server that notices go through. */

const days = z.int().min(0).max(36_500);

export const accountLifeSchema = z.strictObject({
  /** A password older than this is refused. 0: it never is. */
  passwordMaxAgeDays: days.default(0),
  /** A new password must be none of so many before it. */
  passwordHistory: z.int().min(0).max(24).default(0),
  /** Without a login for so long, an account is disabled. 0: never. */
  disableAfterInactiveDays: days.default(0),
  /** Without a login for so long, an account is removed; its files stay. 0: never. */
  removeAfterInactiveDays: days.default(0),
  /** Notices go out so many days before an account or password expires, or an account is disabled or removed. */
  noticeDaysBefore: z.array(z.int().min(1).max(365)).max(16).default([14, 3, 1]),
  /** When the coordinator looks, as cron says it, in UTC: minute, hour, day, month, weekday, and seconds before them if six. */
  schedule: z
    .string()
    .max(64)
    .regex(/^[\d*,/-]+(?: [\d*,/-]+){4,5}$/, "five or six cron fields of digits and * , / -")
    .default("17 * * * *"),
});
export type AccountLife = z.infer<typeof accountLifeSchema>;

export const mailSchema = z.strictObject({
  server: z.strictObject({ host: z.string().min(1).max(253), port: z.int().min(1).max(65_535) }),
  from: z.email().max(254),
  user: z.string().min(1).max(256).optional(),
  /** Sealed with the cluster key under the store key of the site's settings (lib/seal.ts). */
  passwordSealed: z
    .string()
    .max(4_096)
    .regex(/^ls1:[0-9a-f]{8}:[A-Za-z0-9_-]+$/, "a sealed value (ls1:...)")
    .optional(),
  /** `starttls` and `tls` demand a valid certificate; `none` is for a server on the same host. */
  tls: z.enum(["none", "starttls", "tls"]).default("starttls"),
});
export type MailSettings = z.infer<typeof mailSchema>;
