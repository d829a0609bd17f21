import type Router from "@koa/router";
import type { Context } from "koa";
import { describe, faultsOf } from "#config/errors.js";
import { HttpError } from "./errors.js";
import { type Access, type AdminRefusal, type Principal, refusalOf } from "./principal.js";
import type { Refused } from "./refusal-log.js";
import type { RouteSpec } from "./route.js";
import { routeSpec } from "./route-table.js";
import type { Authentication } from "./token.js";

export interface GateOptions {
  readonly router: Router;
  readonly authenticate: (authorization: string | undefined) => Authentication;
  readonly refused: (reason: AdminRefusal, refused: Refused) => void;
  /** The client's own address. */
  readonly addressOf: (ctx: Context) => string;
}

/** What the gate found out about a request that it lets pass. */
export interface Admitted {
  /** Undefined where nothing is registered for the address and method. */
  readonly route: RouteSpec | undefined;
  /** Undefined on routes that are open to all. */
  readonly principal: Principal | undefined;
}

/** A route that nobody has thought about is for full administrators only. */
const UNLISTED: Access = { scope: "*", role: "admin" };
const OVERRIDES = ["x-http-method-override", "x-http-method", "x-method-override"];

const principals = new WeakMap<Context["req"], Principal>();

/** Who asks. Throws where the route is open: nobody said who he is there. */
export function principalOf(ctx: Pick<Context, "req">): Principal {
  const principal = principals.get(ctx.req);
  if (principal === undefined) throw new Error("an open route has no principal");
  return principal;
}

/** For what a route opens to some and gives to few. Throws HttpError 403. */
export function demandEverything(ctx: Pick<Context, "req">, what: string): void {
  const { role, scopes } = principalOf(ctx);
  if (role === "admin" && scopes.includes("*")) return;
  throw new HttpError(403, "Not allowed", `${what} needs the role admin and a token of the scope *`);
}

/**
 * Decides whether a request may go on to its handler: who asks, with which rights, and in a form that the route takes.
 * Nothing of a body is read before. The function throws HttpError 400, 401, 403 or 503.
 */
export function createGate(options: GateOptions): (ctx: Context) => Admitted {
  const { router, authenticate, addressOf } = options;

  const refuse = (ctx: Context, reason: AdminRefusal, principal?: Principal) => {
    const { method, path } = ctx;
    const administrator = principal === undefined ? {} : { administrator: principal.name };
    options.refused(reason, { address: ctx.ip, method, path, ...administrator });
  };

  const identify = (ctx: Context): Principal => {
    const authentication = authenticate(ctx.get("authorization"));
    if (typeof authentication === "object") return authentication;
    if (authentication === "loading") {
      throw new HttpError(503, "Not ready", "this node doesn't know the administrators yet; only the site token works");
    }
    refuse(ctx, authentication);
    ctx.set("www-authenticate", 'Bearer realm="longshore"');
    // Which of the reasons it was is in the log: whoever guesses isn't told.
    throw new HttpError(
      401,
      "A token is needed",
      "send Authorization: Bearer <token>, one that is known and not expired",
    );
  };

  const authorize = (ctx: Context, principal: Principal, access: Access) => {
    const reads = ctx.method === "GET" || ctx.method === "HEAD";
    const refusal = refusalOf(principal, access, reads);
    if (refusal === undefined || typeof access === "string") return;
    refuse(ctx, refusal, principal);
    const wanted =
      refusal === "role"
        ? `this needs the role ${access.role}; ${principal.name} is ${principal.role}`
        : `this needs a token of the scope ${access.scope}; this one has ${principal.scopes.join(", ")}`;
    throw new HttpError(403, "Not allowed", wanted);
  };

  return (ctx) => {
    // For whoever asks later, such as the audit log: koa itself only knows the balancer's.
    ctx.request.ip = addressOf(ctx);
    const matched = router.match(ctx.path, ctx.method).pathAndMethod.at(-1)?.path;
    const route = typeof matched === "string" ? routeSpec(ctx.method, matched) : undefined;
    const api = ctx.path === "/api" || ctx.path.startsWith("/api/");
    const access = route?.access ?? (matched !== undefined ? UNLISTED : api ? "self" : "open");
    let principal: Principal | undefined;
    if (access !== "open") {
      principal = identify(ctx);
      authorize(ctx, principal, access);
      principals.set(ctx.req, principal);
      (ctx.state as { administrator?: string }).administrator = principal.name;
    }
    if (ctx.req.httpVersion === "1.1" && ctx.headers.host === undefined) {
      throw new HttpError(400, "Malformed", "a request of HTTP/1.1 has a Host header");
    }
    if (OVERRIDES.some((name) => ctx.get(name) !== "")) {
      throw new HttpError(400, "Malformed", "the method can't be overridden by a header");
    }
    if (route !== undefined) checkQuery(ctx, route);
    return { route, principal };
  };
}

function checkQuery(ctx: Context, route: RouteSpec): void {
  // Whoever scrapes or checks health may add what he likes, such as a cache breaker.
  if (route.access === "open") return;
  if (route.query === undefined) {
    const [name] = Object.keys(ctx.query);
    if (name !== undefined) throw new HttpError(400, "Malformed", `query: ${name.slice(0, 100)} isn't known here`);
    return;
  }
  const parsed = route.query.safeParse({ ...ctx.query });
  if (parsed.success) return;
  const faults = faultsOf(parsed.error).map((fault) => describe(fault).slice(0, 200));
  throw new HttpError(400, "Malformed", `query: ${faults.join("; ")}`);
}
