import type Router from "@koa/router";
import type { StoredAdministrator } from "#config/administrators.js";
import { InvalidConfigError } from "#config/errors.js";
import { actorOf } from "./actor.js";
import { entityTag, preconditionOf, readValid } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { principalOf } from "./gate.js";
import { answerPage, pageByName } from "./pages.js";
import { administratorBody, tokenBody } from "./schemas.js";
import { newToken } from "./token.js";

const BODY_LIMIT = 65_536;
/** Of one administrator: more than anybody needs. */
const MAX_TOKENS = 32;

/** Who may administer the site, and their tokens. Hashes of tokens never leave. */
export function administratorsRoutes(router: Router, { administrators, logger, protection }: AdminParts): void {
  router.get("/api/v1/self", (ctx) => {
    const { name, role, scopes, tokenId, expiresAt } = principalOf(ctx);
    ctx.body = { name, role, scopes, tokenId: tokenId ?? null, expiresAt: expiresAt ?? null };
  });

  router.get("/api/v1/administrators", async (ctx) => {
    const page = pageByName(await administrators.list(), ({ administrator }) => administrator.name, ctx.query);
    answerPage(ctx, "administrators", page, shown);
  });

  router.get("/api/v1/administrators/:name", async (ctx) => {
    const name = String(ctx.params.name);
    const found = await administrators.get(name);
    if (found === undefined) throw notFound(name);
    ctx.set("etag", entityTag(found.revision));
    ctx.body = shown(found);
  });

  router.put("/api/v1/administrators/:name", async (ctx) => {
    const name = String(ctx.params.name);
    const expected = preconditionOf(ctx.headers);
    const body = await readValid(ctx.req, BODY_LIMIT, administratorBody, "the administrator isn't valid");
    if (body.name !== undefined && body.name !== name) {
      throw new InvalidConfigError("the administrator isn't valid", [
        { path: "name", message: "isn't the one in the address" },
      ]);
    }
    const { revision: _revision, tokens: _tokens, ...fields } = body;
    const { role, enabled } = fields;
    const { before, after } = await administrators.change(
      name,
      (current) => ({ ...fields, name, ...kept(current) }),
      expected,
      { by: actorOf(ctx) },
    );
    if (after === undefined) throw notFound(name);
    logger.info("an administrator was written", { administrator: name, role, enabled, by: principalOf(ctx).name });
    ctx.status = before === undefined ? 201 : 200;
    ctx.set("etag", entityTag(after.revision));
    ctx.body = shown(after);
  });

  router.delete("/api/v1/administrators/:name", async (ctx) => {
    const name = String(ctx.params.name);
    const { before } = await administrators.change(name, () => undefined, existing(preconditionOf(ctx.headers)), {
      by: actorOf(ctx),
    });
    if (before === undefined) throw notFound(name);
    logger.info("an administrator was removed", { administrator: name, by: principalOf(ctx).name });
    ctx.status = 204;
  });

  router.post("/api/v1/administrators/:name/tokens", async (ctx) => {
    const name = String(ctx.params.name);
    const expected = existing(preconditionOf(ctx.headers));
    const { scopes, expiresAt } = await readValid(ctx.req, BODY_LIMIT, tokenBody, "the token isn't valid");
    if (expiresAt !== undefined && Date.parse(expiresAt) <= protection.security.now()) {
      throw new InvalidConfigError("the token isn't valid", [{ path: "expiresAt", message: "is over already" }]);
    }
    const { id, hash, text } = newToken();
    const createdAt = new Date(protection.security.now()).toISOString();
    const token = { id, hash, scopes, createdAt, ...(expiresAt === undefined ? {} : { expiresAt }) };
    const { after } = await administrators.change(
      name,
      (current) => {
        if (current === undefined) throw notFound(name);
        const { tokens } = current.administrator;
        if (tokens.length >= MAX_TOKENS) {
          const message = `there are ${MAX_TOKENS} already: revoke one`;
          throw new InvalidConfigError("the token isn't valid", [{ path: "", message }]);
        }
        return { ...current.administrator, tokens: [...tokens, token] };
      },
      expected,
      { by: actorOf(ctx) },
    );
    logger.info("a token was made", { administrator: name, token: id, scopes, by: principalOf(ctx).name });
    const { hash: _hash, ...told } = token;
    ctx.status = 201;
    ctx.body = { ...told, token: text, revision: after?.revision ?? 0 };
  });

  router.delete("/api/v1/administrators/:name/tokens/:id", async (ctx) => {
    const name = String(ctx.params.name);
    const id = String(ctx.params.id);
    const expected = existing(preconditionOf(ctx.headers));
    await administrators.change(
      name,
      (current) => {
        const tokens = current?.administrator.tokens.filter((token) => token.id !== id) ?? [];
        if (current === undefined || tokens.length === current.administrator.tokens.length) {
          throw new HttpError(404, "Not found", `"${name}" has no token ${id}`);
        }
        return { ...current.administrator, tokens };
      },
      expected,
      { by: actorOf(ctx) },
    );
    logger.info("a token was revoked", { administrator: name, token: id, by: principalOf(ctx).name });
    ctx.status = 204;
  });
}

function shown({ administrator, revision }: StoredAdministrator): Record<string, unknown> {
  const { passwordHash: _passwordHash, ...fields } = administrator;
  const tokens = administrator.tokens.map(({ hash: _hash, ...token }) => token);
  return { ...fields, tokens, revision };
}

/** What a write of the administrator's settings leaves as it is. */
function kept(before: StoredAdministrator | undefined) {
  const { tokens = [], passwordHash } = before?.administrator ?? {};
  return { tokens, ...(passwordHash === undefined ? {} : { passwordHash }) };
}

function existing(expected: "absent" | number | undefined): number | undefined {
  if (expected !== "absent") return expected;
  throw new HttpError(400, "Malformed precondition", "what is absent can't be changed");
}

function notFound(name: string): HttpError {
  return new HttpError(404, "Not found", `there is no administrator "${name}"`);
}
