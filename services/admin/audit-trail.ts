import type { Context, Middleware } from "koa";
import type { AuditEntry, AuditSink } from "#audit/contract.js";
import { changeOf, masked } from "#audit/mask.js";
import { HttpError, problemOf } from "./errors.js";
import type { AdminRefusal } from "./principal.js";
import type { Refused } from "./refusal-log.js";

/** Every administrative change on the record: who, from where, what was asked, what it changed, how it came out. */

const READS = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * A change is on the record before it is made and again with its outcome before it is answered, so that one whose node is
 * killed in between shows as started. What can't be recorded isn't done: another node can do it.
 */
export function auditTrail(audit: AuditSink | undefined): Middleware {
  return async (ctx, next) => {
    if (audit === undefined || READS.has(ctx.method) || !ctx.path.startsWith("/api/")) return await next();
    const asked = {
      kind: "admin",
      what: ctx.method.toLowerCase(),
      path: ctx.path,
      who: administratorOf(ctx),
      client: ctx.ip,
    } as const;
    try {
      await audit.recordDurably({ ...asked, outcome: "started" });
    } catch {
      throw new HttpError(
        503,
        "Nothing can be put on the audit record",
        "this node is starting or needs mending: try again in a moment, or ask another node",
      );
    }
    try {
      await next();
    } catch (error) {
      await conclude(audit, { ...asked, outcome: statusOf(error) < 500 ? "refused" : "failed" }, ctx, statusOf(error));
      throw error;
    }
    const outcome = ctx.status < 400 ? "ok" : ctx.status < 500 ? "refused" : "failed";
    await conclude(audit, { ...asked, outcome }, ctx, ctx.status);
  };
}

/** A request that the gate didn't let in: 401, or 403 with the administrator's name. */
export function refusedRecord(reason: AdminRefusal, { address, method, path, administrator }: Refused): AuditEntry {
  return {
    kind: "admin",
    what: method.toLowerCase().slice(0, 16),
    outcome: "denied",
    path: path.slice(0, 200),
    client: address,
    ...(administrator === undefined ? {} : { who: administrator }),
    details: { reason },
  };
}

/** Told by a route: what an entry was and is. Secrets are masked before anything is written. */
export function noteChange(ctx: Context, before: unknown, after: unknown): void {
  (ctx.state as { change?: unknown }).change = changeOf(before, after);
}

/** Told by a route that changes many entries at once: what it did, in its own form. */
export function noteChanges(ctx: Context, changes: unknown): void {
  (ctx.state as { change?: unknown }).change = masked(changes);
}

type Asked = Parameters<AuditSink["recordDurably"]>[0];

async function conclude(audit: AuditSink, asked: Asked, ctx: Context, status: number): Promise<void> {
  const { change } = ctx.state as { change?: unknown };
  const revision = String(ctx.response.headers.etag ?? "").replaceAll('"', "");
  const details = { status, ...(change === undefined ? {} : { change }), ...(revision === "" ? {} : { revision }) };
  // The change is made or refused by now: its answer isn't held back for a record that is in line.
  await audit.recordDurably({ ...asked, details }).catch(() => {});
}

/** The administrator's name as the login left it in the state; the site's one token has none. */
function administratorOf(ctx: Context): string {
  const { administrator } = ctx.state as { administrator?: unknown };
  if (typeof administrator === "string") return administrator;
  const name = (administrator as { name?: unknown } | undefined)?.name;
  return typeof name === "string" ? name : "admin-token";
}

function statusOf(error: unknown): number {
  return problemOf(error).problem.status;
}
