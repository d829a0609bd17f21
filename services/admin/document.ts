import { createHash } from "node:crypto";
import type Router from "@koa/router";
import type { AdminParts } from "./contract.js";
import { openApiDocument } from "./openapi.js";
import { ROUTES } from "./route-table.js";

/** The API's own description, the same on every node of one version. */
export function documentRoutes(router: Router, { node }: AdminParts): void {
  const text = JSON.stringify(openApiDocument(ROUTES, node.identity.version));
  const etag = `"${createHash("sha256").update(text).digest("base64url").slice(0, 22)}"`;
  router.get("/api/v1/openapi.json", (ctx) => {
    ctx.set("etag", etag);
    ctx.type = "application/json";
    ctx.body = text;
  });
}
