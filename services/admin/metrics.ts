import type Router from "@koa/router";
import type { AdminParts } from "./contract.js";

/** For Prometheus. No token: nothing on the page names an account, a path or an address. */
export function metricsRoutes(router: Router, { metrics }: AdminParts): void {
  router.get("/metrics", async (ctx) => {
    const { contentType, body } = await metrics.render();
    ctx.set("content-type", contentType);
    ctx.body = body;
  });
}
