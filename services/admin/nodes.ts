import type Router from "@koa/router";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { answerPage, pageByName } from "./pages.js";

const NODE_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The site's nodes, and an operator's wishes for them. */
export function nodesRoutes(router: Router, { members, intents, logger }: AdminParts): void {
  /** A member by name or id; an id may also be that of a node that is down, whose wish outlives it. */
  const resolve = (nameOrId: string): string => {
    const member = members.list().find(({ id, name }) => id === nameOrId || name === nameOrId);
    if (member !== undefined) return member.id;
    if (NODE_ID.test(nameOrId)) return nameOrId;
    throw new HttpError(404, "Not found", `no node named "${nameOrId}" is up; one that is down is named by its id`);
  };

  router.get("/api/v1/nodes", (ctx) => {
    const page = pageByName(members.list(), ({ name }) => name, ctx.query);
    answerPage(ctx, "nodes", page, (node) => node);
  });
  for (const wish of ["drain", "undrain"] as const) {
    router.post(`/api/v1/nodes/:id/${wish}`, async (ctx) => {
      const id = resolve(String(ctx.params.id));
      await intents[wish](id);
      logger.info("a node's wish was changed", { target: id, wish });
      ctx.body = { id, wish: wish === "drain" ? "drain" : null };
    });
  }
}
