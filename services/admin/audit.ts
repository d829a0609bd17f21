import type Router from "@koa/router";
import { type Anchors, answerOf } from "#audit/anchors.js";
import { type AuditQuery, auditQuerySchema, type Found } from "#audit/query.js";
import { faultsOf, InvalidConfigError } from "#config/errors.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

/** What the admin API needs to search the site's audit log. */
export interface AuditSearch {
  search(query: AuditQuery, signal: AbortSignal): Promise<Found>;
  /** How far each node's chain goes, as the store knows. */
  anchors?(): Promise<Anchors>;
  /** Why nothing can be recorded here; undefined while all is well. */
  problem(): string | undefined;
  /** What an operator should look at, though records are still kept. */
  warning(): string | undefined;
}

/** Of one answer; the command line asks again with `until` for more. */
const MOST_RECORDS = 1_000;
const SEARCH_MS = 20_000;

/** The site's audit log, newest first. Each search reads at most 512 MiB for at most 20 s, then says what it found. */
export function auditRoutes(router: Router, { audit }: AdminParts): void {
  router.get("/api/v1/audit", async (ctx) => {
    if (audit === undefined) throw new HttpError(503, "The audit log isn't open");
    const parsed = auditQuerySchema.safeParse(ctx.query);
    if (!parsed.success) throw new InvalidConfigError("the question isn't valid", faultsOf(parsed.error));
    const query = { ...parsed.data, limit: Math.min(parsed.data.limit, MOST_RECORDS) };
    ctx.body = await audit.search(query, AbortSignal.timeout(SEARCH_MS));
  });

  router.get("/api/v1/audit/anchors", async (ctx) => {
    ctx.body = answerOf((await audit?.anchors?.()) ?? new Map());
  });
}
