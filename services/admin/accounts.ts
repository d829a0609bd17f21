import type Router from "@koa/router";
import { z } from "zod";
import type { StoredAccount } from "#config/accounts.js";
import { InvalidConfigError, StaleRevisionError } from "#config/errors.js";
import type { Expectation } from "#config/write.js";
import { actorOf } from "./actor.js";
import { noteChange } from "./audit-trail.js";
import { entityTag, preconditionOf, readJson } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { answerPage, pageOf } from "./pages.js";
import { keptPasswordFields, passwordFields } from "./password-change.js";

/** 64 public keys of the largest size, and some air. */
const BODY_LIMIT = 1_500_000;

/** A write without a precondition of its client tries so often against others. */
const TRIES = 8;

/** Absent: the password stays as it is. Null: there is none any more. */
const passwordSchema = z.string().min(1).max(1_024).nullish();

/** Partners' logins. What a hash is made of never leaves; `hasPassword` says that there is one. */
export function accountsRoutes(router: Router, { accounts, site, protection, logger }: AdminParts): void {
  router.get("/api/v1/accounts", async (ctx) => {
    const { limit, after } = pageOf(ctx.query);
    answerPage(ctx, "accounts", await accounts.page(limit, after), shown);
  });

  router.get("/api/v1/accounts/:name", async (ctx) => {
    const found = await accounts.get(String(ctx.params.name));
    if (found === undefined) throw notFound(String(ctx.params.name));
    ctx.set("etag", entityTag(found.revision));
    ctx.body = shown(found);
  });

  router.put("/api/v1/accounts/:name", async (ctx) => {
    const name = String(ctx.params.name);
    const expected = preconditionOf(ctx.headers);
    const { password, ...fields } = fieldsOf(await readJson(ctx.req, BODY_LIMIT), name);
    const { stored, before } = await write(name, fields, password, expected, actorOf(ctx));
    logger.info("an account was written", { account: name, revision: stored.revision });
    noteChange(ctx, before && shown(before), shown(stored));
    ctx.status = before === undefined ? 201 : 200;
    ctx.set("etag", entityTag(stored.revision));
    ctx.body = shown(stored);
  });

  const write = async (
    name: string,
    fields: Record<string, unknown>,
    password: string | null | undefined,
    expected: Expectation | undefined,
    by: string,
  ) => {
    const history = typeof password === "string" ? (await site.get()).site.accountLife.passwordHistory : 0;
    for (let tried = 1; ; tried++) {
      const before = await accounts.get(name);
      const kept =
        password === undefined && fields.passwordHash === undefined ? before?.account.passwordHash : undefined;
      const set =
        typeof password === "string"
          ? await passwordFields(password, before?.account, history, protection.security.now())
          : keptPasswordFields(kept === undefined ? undefined : before?.account);
      const account = { ...set, ...fields, ...(typeof password === "string" ? set : {}), name };
      // A password that is kept was read just now: the write demands that nobody changed it since.
      const demand = expected ?? (kept === undefined ? undefined : before?.revision);
      try {
        return { stored: await accounts.put(account, demand, { by }), before };
      } catch (error) {
        if (!(error instanceof StaleRevisionError) || expected !== undefined || tried >= TRIES) throw error;
      }
    }
  };

  router.delete("/api/v1/accounts/:name", async (ctx) => {
    const name = String(ctx.params.name);
    const expected = preconditionOf(ctx.headers);
    if (expected === "absent") throw new HttpError(400, "Malformed precondition", "an absent account can't be deleted");
    const before = await accounts.get(name).catch(() => undefined);
    if (!(await accounts.delete(name, expected, { by: actorOf(ctx) }))) throw notFound(name);
    noteChange(ctx, before && shown(before), null);
    logger.info("an account was deleted", { account: name });
    ctx.status = 204;
  });
}

/** An account as its reader may see it. */
export function shown({ account, revision }: StoredAccount): Record<string, unknown> {
  const { passwordHash, passwordHistory: _history, ...rest } = account;
  return { ...rest, hasPassword: passwordHash !== undefined, revision };
}

/** The fields to write; those that only we say (`shown`) may come back unchanged from a client that edits an answer. */
function fieldsOf(body: unknown, name: string): Record<string, unknown> & { password?: string | null | undefined } {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new InvalidConfigError("the account isn't valid", [{ path: "", message: "must be an object" }]);
  }
  const { hasPassword: _hasPassword, revision: _revision, ...fields } = body as Record<string, unknown>;
  if (fields.name !== undefined && fields.name !== name) {
    throw new InvalidConfigError("the account isn't valid", [
      { path: "name", message: "isn't the one in the address" },
    ]);
  }
  const password = passwordSchema.safeParse(fields.password);
  if (!password.success) {
    const faults = password.error.issues.map(({ message }) => ({ path: "password", message }));
    throw new InvalidConfigError("the account isn't valid", faults);
  }
  if (password.data != null && fields.passwordHash !== undefined) {
    throw new InvalidConfigError("the account isn't valid", [
      { path: "password", message: "or passwordHash, not both" },
    ]);
  }
  const { password: _password, ...rest } = fields;
  return { ...rest, password: password.data };
}

function notFound(name: string): HttpError {
  return new HttpError(404, "Not found", `there is no account "${name}"`);
}
