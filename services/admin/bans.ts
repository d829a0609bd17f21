import type Router from "@koa/router";
import type { MeasureRecord } from "#auth/measures.js";
import { inForce } from "#auth/policy.js";
import type { Security } from "#auth/security.js";
import { InvalidConfigError } from "#config/errors.js";
import { accountNameSchema } from "#config/schema.js";
import { canonicalNetwork } from "#lib/addresses.js";
import { readValid } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { newBanSchema } from "./security-spec.js";

const BODY_LIMIT = 4_096;

/** Addresses that are shut out, and accounts whose passwords are locked: the site's, in force on each node within a second. */
export function bansRoutes(router: Router, { protection, logger }: AdminParts): void {
  router.get("/api/v1/bans", (ctx) => {
    ctx.body = { bans: shownAll(protection.security.bans.list(), protection.security, "address") };
  });

  router.post("/api/v1/bans", async (ctx) => {
    const { address, seconds, reason } = await readValid(ctx.req, BODY_LIMIT, newBanSchema, "the ban isn't valid");
    const subject = canonicalNetwork(address);
    if (subject === undefined) {
      const message = "an IPv4 network inside IPv6 is written as IPv4";
      throw new InvalidConfigError("the ban isn't valid", [{ path: "address", message }]);
    }
    if (protection.security.meetsBalancer(subject)) {
      const message = "holds a balancer's address, which all partners come from; ban the partner's own address";
      throw new InvalidConfigError("the ban isn't valid", [{ path: "address", message }]);
    }
    const at = protection.security.now();
    const level = protection.security.bans.get(subject)?.level ?? 1;
    const until = seconds === undefined ? null : at + seconds * 1_000;
    const record: MeasureRecord = { subject, at, until, level, by: "administrator", reason };
    await protection.security.bans.add(record);
    logger.warn("an administrator banned an address", { address: subject, until });
    ctx.status = 201;
    ctx.body = shown(record, protection.security, "address");
  });

  router.delete("/api/v1/bans/:address", async (ctx) => {
    const text = String(ctx.params.address);
    const subject = canonicalNetwork(text);
    if (subject === undefined) throw new HttpError(400, "Malformed", `"${text}" is no address or network`);
    if (!(await protection.security.bans.remove(subject)))
      throw new HttpError(404, "Not found", `there is no ban of ${subject}`);
    logger.warn("an administrator lifted a ban", { address: subject });
    ctx.status = 204;
  });

  router.get("/api/v1/lockouts", (ctx) => {
    ctx.body = { lockouts: shownAll(protection.security.lockouts.list(), protection.security, "account") };
  });

  router.delete("/api/v1/lockouts/:account", async (ctx) => {
    const account = String(ctx.params.account);
    const removed =
      accountNameSchema.safeParse(account).success && (await protection.security.lockouts.remove(account));
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
