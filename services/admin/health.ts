import type Router from "@koa/router";
import { isWell } from "#cluster/decide.js";
import type { AdminParts } from "./contract.js";

/**
 * `live`: the process answers. `ready`: nothing is missing; new partners are welcome, or would be if this node were the
 * active one. `serving`: those that are here are served, also while
 * the node drains, and for some time while it is cut off; the balancer ends the sessions of a node that doesn't serve. No token: the balancer has none.
 */
export function healthRoutes(router: Router, { node }: AdminParts): void {
  router.get("/health/live", (ctx) => {
    ctx.body = { status: "live" };
  });
  router.get("/health/ready", (ctx) => {
    const { state, reasons } = node.state();
    const well = isWell(state);
    ctx.status = well ? 200 : 503;
    ctx.body = { status: well ? "ready" : "not-ready", state, reasons };
  });
  router.get("/health/serving", (ctx) => {
    const { state, reasons } = node.state();
    const serving = node.serving();
    ctx.status = serving ? 200 : 503;
    ctx.body = { status: serving ? "serving" : "not-serving", state, reasons };
  });
}
