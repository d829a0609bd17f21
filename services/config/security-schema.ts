import { z } from "zod";
import { networksSchema } from "./fields.js";

/** How long the first, second, ... time takes, in seconds; the last one goes for all later times. */
const escalation = z.array(z.int().min(1).max(31_536_000)).min(1).max(16);
const ESCALATION = [60, 300, 1_800, 14_400, 86_400];

/** What the site does about failed logins. A count of 0 switches that measure off. */
export const securitySchema = z.strictObject({
  /** Failed logins older than this don't count. Milliseconds. */
  windowMs: z.int().min(10_000).max(86_400_000).default(600_000),
  throttle: z
    .strictObject({
      /** Failures in the window, of the address or of the account, from which on a password check waits first. */
      afterFailures: z.int().min(0).max(100_000).default(3),
      /** The first wait; it doubles with each further failure. Milliseconds. */
      firstMs: z.int().min(1).max(10_000).default(100),
      /** The longest wait. Milliseconds. */
      mostMs: z.int().min(1).max(30_000).default(2_000),
    })
    .prefault({}),
  /** Failures of one address (IPv6: one /64) in the window that ban it. */
  addressFailures: z.int().min(0).max(100_000).default(20),
  banSeconds: escalation.default(ESCALATION),
  /** Failures for one account in the window that lock its password for addresses that never logged in to it. */
  accountFailures: z.int().min(0).max(100_000).default(30),
  lockoutSeconds: escalation.default(ESCALATION),
  /** So long after its end a ban or lockout is remembered, so that the next one takes longer. */
  forgetHours: z.int().min(1).max(8_760).default(168),
  /** Never banned nor slowed down, besides the balancers: e.g. a partner's NAT address with many users behind it. */
  neverBan: networksSchema.default([]),
});
export type SecuritySettings = z.infer<typeof securitySchema>;
