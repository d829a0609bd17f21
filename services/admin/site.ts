import type Router from "@koa/router";
import { keys } from "#coordination/keys.js";
import { actorOf } from "./actor.js";
import { noteChange } from "./audit-trail.js";
import { entityTag, preconditionOf, readJson } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

const BODY_LIMIT = 65_536;

/** The site's settings: always written against the revision that was read, since one write replaces all of them. */
export function siteRoutes(router: Router, { site, seal, logger }: AdminParts): void {
  router.get("/api/v1/site", async (ctx) => {
    const stored = await site.get();
    ctx.set("etag", entityTag(stored.revision));
    ctx.body = { ...stored.site, revision: stored.revision };
  });

  router.put("/api/v1/site", async (ctx) => {
    const expected = preconditionOf(ctx.headers);
    if (typeof expected !== "number") {
      throw new HttpError(428, "Precondition required", "send If-Match with the ETag of GET /api/v1/site");
    }
    const body = withSealedMail(await readJson(ctx.req, BODY_LIMIT), seal);
    const before = (await site.get()).site;
    const stored = await site.put(withoutRevision(body), expected, { by: actorOf(ctx) });
    noteChange(ctx, before, stored.site);
    logger.info("the site's settings were written", { revision: stored.revision });
    ctx.set("etag", entityTag(stored.revision));
    ctx.body = { ...stored.site, revision: stored.revision };
  });
}

/** `revision` is what we add to an answer; a client that edits one may send it back. */
function withoutRevision(body: unknown): unknown {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return body;
  const { revision: _revision, ...rest } = body as Record<string, unknown>;
  return rest;
}

/** `mail.password` comes in as it is, and is stored sealed; what is stored comes back sealed and may be sent again. */
function withSealedMail(body: unknown, seal: AdminParts["seal"]): unknown {
  const mail = (body as { mail?: unknown } | null)?.mail;
  if (typeof mail !== "object" || mail === null || !("password" in mail) || seal === undefined) return body;
  const { password, ...rest } = mail;
  if (typeof password !== "string" || password === "") return body;
  return { ...(body as object), mail: { ...rest, passwordSealed: seal(password, keys.site) } };
}
