import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import { type AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import Router from "@koa/router";
import Koa from "koa";
import type { Administrator } from "#config/entries.js";
import { LongshoreError, systemCode } from "#lib/errors.js";
import { accountsRoutes } from "./accounts.js";
import { activeRoutes } from "./active.js";
import { administratorsRoutes } from "./administrators.js";
import { auditRoutes } from "./audit.js";
import { auditTrail, refusedRecord } from "./audit-trail.js";
import { backupRoutes } from "./backup.js";
import { bansRoutes } from "./bans.js";
import { DRAIN_BYTES, DRAIN_MS, drained } from "./body.js";
import { type AdminTls, type CertificateFollower, createCertificateFollower } from "./certificate.js";
import { configurationRoutes } from "./configuration.js";
import type { AdminParts } from "./contract.js";
import { documentRoutes } from "./document.js";
import { entriesRoutes } from "./entries.js";
import { HttpError, problemOf } from "./errors.js";
import { createGate } from "./gate.js";
import { healthRoutes } from "./health.js";
import { asksOnce, createOnce } from "./idempotency.js";
import { metricsRoutes } from "./metrics.js";
import { nodesRoutes } from "./nodes.js";
import type { AdminRefusal } from "./principal.js";
import { clientAddress, createRefusalLog } from "./refusal-log.js";
import { takesIdempotencyKey } from "./route.js";
import { sessionsRoutes } from "./sessions.js";
import { siteRoutes } from "./site.js";
import { statusRoutes } from "./status.js";
import { storageTrialRoutes } from "./storage-trial.js";
import { createAuthenticator } from "./token.js";
import { usageRoutes } from "./usage.js";

export interface AdminOptions extends AdminParts {
  readonly host: string;
  /** 0: any free one; `listen` tells which. */
  readonly port: number;
  /** Absent: HTTP in the clear. */
  readonly tls?: AdminTls | undefined;
  /** Of `adminTokenFile`: it may do everything. */
  readonly token: () => string;
  /** Of the configuration in force; undefined before there is one. */
  readonly inForce: () => ReadonlyMap<string, Administrator> | undefined;
  /** Whose `X-Forwarded-For` is believed: networks in CIDR form. */
  readonly balancers?: readonly string[];
  readonly onRefusal: (reason: AdminRefusal) => void;
}

export interface Admin {
  /** Resolves with the port. Throws a LongshoreError that names the setting. */
  listen(): Promise<number>;
  /** The certificate that the port shows now, with its chain, in PEM; undefined: it speaks HTTP. */
  certificate(): string | undefined;
  /** Ends all connections. Idempotent. */
  close(): Promise<void>;
}

const REQUEST_MS = 30_000;

/** Health, metrics and the admin API of one node. It answers from the node's very start on. */
export function createAdmin(options: AdminOptions): Admin {
  const { logger, host, port } = options;
  const app = new Koa({ proxy: false });
  const router = createRouter(options);
  const refusalLog = createRefusalLog({ logger, onRefusal: options.onRefusal });
  const gate = createGate({
    router,
    authenticate: createAuthenticator({
      siteToken: options.token,
      administrators: options.inForce,
      now: () => options.protection.security.now(),
    }),
    refused: (reason, refused) => {
      refusalLog(reason, refused);
      options.audit?.record(refusedRecord(reason, refused));
    },
    addressOf: (ctx) =>
      clientAddress(ctx.req.socket.remoteAddress, ctx.get("x-forwarded-for"), options.balancers ?? []),
  });

  const once = createOnce({ requests: options.requests, logger });

  app.use(async (ctx, next) => {
    ctx.set("x-content-type-options", "nosniff");
    ctx.set("cache-control", "no-store");
    try {
      const { route, principal } = gate(ctx);
      if (route !== undefined && principal !== undefined && takesIdempotencyKey(route) && asksOnce(ctx)) {
        await once(ctx, route, principal, next);
      } else {
        await next();
      }
      answerIfChanged(ctx);
      if (ctx.status === 404 && ctx.body == null)
        throw new HttpError(404, "Not found", `there is nothing at ${ctx.path}`);
      if (ctx.status === 405 || ctx.status === 501) throw new HttpError(405, "Method not allowed");
    } catch (error) {
      const { problem, unexpected } = problemOf(error);
      if (unexpected) logger.error("an admin request failed", { method: ctx.method, path: ctx.path, error });
      ctx.status = problem.status;
      ctx.type = "application/problem+json";
      ctx.body = JSON.stringify(problem);
    }
    // What is left of a body that nobody read would be taken for the next request.
    if (!(await drained(ctx.req))) ctx.set("connection", "close");
  });
  app.use(auditTrail(options.audit));
  app.use(router.routes());
  app.use(router.allowedMethods());
  app.on("error", (error: unknown) => {
    // A client that hangs up in the middle of an answer is its own business.
    if (systemCode(error) !== "ECONNRESET" && systemCode(error) !== "EPIPE") logger.error("admin server", { error });
  });

  const certificate = options.tls && createCertificateFollower(options.tls, logger);
  const { server, stopFollowing } = createListener(app.callback(), certificate);
  server.requestTimeout = REQUEST_MS;
  server.headersTimeout = REQUEST_MS / 2;
  server.on("clientError", refuseMalformed);
  let closing: Promise<void> | undefined;
  return {
    listen: () => listen(server, host, port),
    certificate: () => certificate?.current(),
    close() {
      closing ??= new Promise((resolve) => {
        stopFollowing();
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

/** Node itself would answer without a body that says why. */
const OWN_ANSWERS = { requireHostHeader: false } as const;

function createListener(handler: RequestListener, certificate: CertificateFollower | undefined) {
  if (certificate === undefined) return { server: createServer(OWN_ANSWERS, handler), stopFollowing: () => {} };
  const server = createSecureServer({ ...OWN_ANSWERS, ...certificate.initial, minVersion: "TLSv1.2" }, handler);
  // Running connections keep the certificate that they began with.
  const stopFollowing = certificate.follow((pair) => server.setSecureContext({ ...pair, minVersion: "TLSv1.2" }));
  return { server, stopFollowing };
}

/** All routes, with nothing before them. */
export function createRouter(parts: AdminParts): Router {
  // Else `/API/...` would be served, past all that goes by the path.
  const router = new Router({ sensitive: true });
  for (const routes of [
    healthRoutes,
    metricsRoutes,
    statusRoutes,
    nodesRoutes,
    activeRoutes,
    accountsRoutes,
    siteRoutes,
    administratorsRoutes,
    documentRoutes,
    entriesRoutes,
    configurationRoutes,
    bansRoutes,
    sessionsRoutes,
    backupRoutes,
    auditRoutes,
    storageTrialRoutes,
    usageRoutes,
  ]) {
    routes(router, parts);
  }
  return router;
}

/** 304 for a client that has this answer already (RFC 9110, 13.1.2). */
function answerIfChanged(ctx: Koa.Context): void {
  const etag = ctx.response.get("etag");
  if (ctx.status !== 200 || etag === "" || (ctx.method !== "GET" && ctx.method !== "HEAD")) return;
  // Not koa's `fresh`: it heeds Cache-Control of the request, which fetch adds to each request with If-None-Match.
  const known = ctx.get("if-none-match").split(",");
  if (!known.some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag)) return;
  ctx.body = null;
  ctx.status = 304;
}

/** When what a connection sent was refused as no HTTP, and how much had come by then. */
const refusedAt = new WeakMap<Duplex, number>();

/**
 * What isn't HTTP, or has headers that are too large, never reaches the routes. Called again for each further piece of it,
 * which is read and dropped, within the bounds of any body that is refused: see `drained`.
 */
function refuseMalformed(error: unknown, socket: Duplex): void {
  const read = socket instanceof Socket ? socket.bytesRead : 0;
  const before = refusedAt.get(socket);
  if (before !== undefined) {
    if (read - before > DRAIN_BYTES || systemCode(error) === "ECONNRESET") socket.destroy();
    return;
  }
  if (systemCode(error) === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  refusedAt.set(socket, read);
  const overflow = systemCode(error) === "HPE_HEADER_OVERFLOW";
  const [status, title] = overflow ? [431, "Request Header Fields Too Large"] : [400, "Bad Request"];
  const body = JSON.stringify({ type: "about:blank", title, status });
  const head = ["Content-Type: application/problem+json", `Content-Length: ${body.length}`, "Connection: close"];
  socket.end(`HTTP/1.1 ${status} ${title}\r\n${head.join("\r\n")}\r\n\r\n${body}`);
  const timer = setTimeout(() => socket.destroy(), DRAIN_MS);
  socket.once("close", () => clearTimeout(timer));
}

function listen(server: Server | SecureServer, host: string, port: number): Promise<number> {
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
