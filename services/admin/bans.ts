import type Router from "@koa/router";
import { z } from "zod";
import type { MeasureRecord } from "#auth/measures.js";
import { inForce } from "#auth/policy.js";
import type { Security } from "#auth/security.js";
import { faultsOf, InvalidConfigError } from "#config/errors.js";
import { networkSchema } from "#config/fields.js";
import { accountNameSchema } from "#config/schema.js";
import { canonicalNetwork } from "#lib/addresses.js";
import { readJson } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

const BODY_LIMIT = 4_096;

const newBanSchema = z.strictObject({
  /** An address or a network; one IPv6 address means just that one. */
  address: networkSchema,
  /** Absent: until it is removed. */
  seconds: z.int().min(1).max(315_360_000).optional(),
  reason: z.string().max(256).default(""),
});

/** Addresses that are shut out, and accounts whose passwords are locked: the site's, in force on each node within a second. */
export function bansRoutes(router: Router, { protection: { security }, logger }: AdminParts): void {
  const { bans, lockouts } = security;

  router.get("/api/v1/bans", (ctx) => {
    ctx.body = { bans: shownAll(bans.list(), security, "address") };
  });

  router.post("/api/v1/bans", async (ctx) => {
    const parsed = newBanSchema.safeParse(await readJson(ctx.req, BODY_LIMIT));
    if (!parsed.success) throw new InvalidConfigError("the ban isn't valid", faultsOf(parsed.error));
    const { address, seconds, reason } = parsed.data;
    const subject = canonicalNetwork(address);
    if (subject === undefined) {
      const message = "an IPv4 network inside IPv6 is written as IPv4";
      throw new InvalidConfigError("the ban isn't valid", [{ path: "address", message }]);
    }
    if (security.meetsBalancer(subject)) {
      const message = "holds a balancer's address, which all partners come from; ban the partner's own address";
      throw new InvalidConfigError("the ban isn't valid", [{ path: "address", message }]);
    }
    const at = security.now();
    const level = bans.get(subject)?.level ?? 1;
    const until = seconds === undefined ? null : at + seconds * 1_000;
    const record: MeasureRecord = { subject, at, until, level, by: "administrator", reason };
    await bans.add(record);
    logger.warn("an administrator banned an address", { address: subject, until });
    ctx.status = 201;
    ctx.body = shown(record, security, "address");
  });

  router.delete("/api/v1/bans/:address", async (ctx) => {
    const text = String(ctx.params.address);
    const subject = canonicalNetwork(text);
    if (subject === undefined) throw new HttpError(400, "Malformed", `"${text}" is no address or network`);
    if (!(await bans.remove(subject))) throw new HttpError(404, "Not found", `there is no ban of ${subject}`);
    logger.warn("an administrator lifted a ban", { address: subject });
    ctx.status = 204;
  });

  router.get("/api/v1/lockouts", (ctx) => {
    ctx.body = { lockouts: shownAll(lockouts.list(), security, "account") };
  });

  router.delete("/api/v1/lockouts/:account", async (ctx) => {
    const account = String(ctx.params.account);
    const removed = accountNameSchema.safeParse(account).success && (await lockouts.remove(account));
    if (!removed) throw new HttpError(404, "Not found", `the account "${account}" isn't locked`);
    logger.warn("an administrator lifted a lockout", { account });
    ctx.status = 204;
  });
}

/** In force first, then those that are over and only remembered; the newest first. */
function shownAll(records: readonly MeasureRecord[], security: Security, name: "address" | "account") {
  return [...records].sort((a, b) => b.at - a.at).map((record) => shown(record, security, name));
}

function shown(record: MeasureRecord, security: Security, name: "address" | "account") {
  const { subject, at, until, level, by, reason } = record;
  return {
    [name]: subject,
    active: inForce(record, security.now()),
    at: new Date(at).toISOString(),
    until: until === null ? null : new Date(until).toISOString(),
    level,
    by,
    reason,
  };
}
