import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import Router from "@koa/router";
import Koa from "koa";
import { LongshoreError, systemCode } from "#lib/errors.js";
import { accountsRoutes } from "./accounts.js";
import { auditRoutes } from "./audit.js";
import { auditTrail } from "./audit-trail.js";
import { bansRoutes } from "./bans.js";
import { configurationRoutes } from "./configuration.js";
import type { AdminParts } from "./contract.js";
import { entriesRoutes } from "./entries.js";
import { HttpError, problemOf } from "./errors.js";
import { healthRoutes } from "./health.js";
import { metricsRoutes } from "./metrics.js";
import { nodesRoutes } from "./nodes.js";
import { sessionsRoutes } from "./sessions.js";
import { siteRoutes } from "./site.js";
import { statusRoutes } from "./status.js";
import { createTokenCheck } from "./token.js";

export interface AdminOptions extends AdminParts {
  readonly host: string;
  /** 0: any free one; `listen` tells which. */
  readonly port: number;
  /** Of the administrators; everything under `/api/` wants it. */
  readonly token: string;
}

export interface Admin {
  /** Resolves with the port. Throws a LongshoreError that names the setting. */
  listen(): Promise<number>;
  /** Ends all connections. Idempotent. */
  close(): Promise<void>;
}

const REQUEST_MS = 30_000;

/** Health, metrics and the admin API of one node. It answers from the node's very start on. */
export function createAdmin(options: AdminOptions): Admin {
  const { logger, host, port } = options;
  const app = new Koa({ proxy: false });
  const allowed = createTokenCheck(options.token);
  const router = new Router();
  for (const routes of [
    healthRoutes,
    metricsRoutes,
    statusRoutes,
    nodesRoutes,
    accountsRoutes,
    siteRoutes,
    auditRoutes,
    bansRoutes,
    sessionsRoutes,
  ]) {
    routes(router, options);
  }
  for (const routes of [entriesRoutes, configurationRoutes]) routes(router, options);

  app.use(async (ctx, next) => {
    ctx.set("x-content-type-options", "nosniff");
    ctx.set("cache-control", "no-store");
    try {
      if (ctx.path.startsWith("/api/") && !allowed(ctx.get("authorization"))) {
        ctx.set("www-authenticate", 'Bearer realm="longshore"');
        throw new HttpError(401, "A token is needed", "send Authorization: Bearer <the admin token>");
      }
      await next();
      if (ctx.status === 404 && ctx.body == null)
        throw new HttpError(404, "Not found", `there is nothing at ${ctx.path}`);
      if (ctx.status === 405 || ctx.status === 501) throw new HttpError(405, "Method not allowed");
    } catch (error) {
      const { problem, unexpected } = problemOf(error);
      if (unexpected) logger.error("an admin request failed", { method: ctx.method, path: ctx.path, error });
      ctx.status = problem.status;
      ctx.type = "application/problem+json";
      ctx.body = JSON.stringify(problem);
      // What is left of a body that we refused to read would be taken for the next request.
      if (!ctx.req.complete) ctx.set("connection", "close");
    }
  });
  app.use(auditTrail(options.audit));
  app.use(router.routes());
  app.use(router.allowedMethods());
  app.on("error", (error: unknown) => {
    // A client that hangs up in the middle of an answer is its own business.
    if (systemCode(error) !== "ECONNRESET" && systemCode(error) !== "EPIPE") logger.error("admin server", { error });
  });

  const server = createServer(app.callback());
  server.requestTimeout = REQUEST_MS;
  server.headersTimeout = REQUEST_MS / 2;
  let closing: Promise<void> | undefined;
  return {
    listen: () => listen(server, host, port),
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const taken = systemCode(error) === "EADDRINUSE";
      const why = taken
        ? `port ${port} is taken on ${host}: give "admin" another one`
        : `can't listen at ${host}:${port}`;
      reject(new LongshoreError("io", `admin: ${why}`, error));
    });
    server.listen(port, host, () => {
      server.removeAllListeners("error");
      server.on("error", () => {});
      resolve((server.address() as AddressInfo).port);
    });
  });
}
