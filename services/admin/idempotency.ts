import { createHash, createHmac } from "node:crypto";
import type { Context } from "koa";
import { MAX_BODY, type RememberedAnswer, type RememberedRequests } from "#cluster/remembered-requests.js";
import type { Logger } from "#lib/logger.js";
import { readBody } from "./body.js";
import { HttpError } from "./errors.js";
import { KEY } from "./openapi.js";
import type { Principal } from "./principal.js";
import type { RouteSpec } from "./route.js";

const HEADER = "idempotency-key";
const FORM = new RegExp(KEY);

export interface OnceOptions {
  readonly requests: RememberedRequests;
  readonly logger: Logger;
}

/**
 * Runs a request that carries an Idempotency-Key once: a repetition within 24 hours, through whichever node, gets the
 * first one's answer. Only success is remembered: a refusal has changed nothing, so it may be tried again.
 */
export function createOnce({ requests, logger }: OnceOptions) {
  return async (ctx: Context, route: RouteSpec, principal: Principal, run: () => Promise<unknown>): Promise<void> => {
    const key = ctx.get(HEADER);
    if (!FORM.test(key)) throw new HttpError(400, "Malformed", "Idempotency-Key: 1 to 255 visible ASCII characters");
    const body = route.body === undefined ? Buffer.alloc(0) : await readBody(ctx.req, route.body.limit);
    const beginning = await requests.begin(idOf(principal, key), fingerprint(key, ctx, body));
    switch (beginning.kind) {
      case "other-request":
        throw new HttpError(422, "Not valid", "this Idempotency-Key was used for another request: take a new one");
      case "under-way":
        throw new HttpError(
          409,
          "Under way",
          "a request with this Idempotency-Key is under way: repeat it in a moment",
        );
      case "done":
        repeat(ctx, beginning.answer);
        return;
      case "new":
    }
    let answer: RememberedAnswer | undefined;
    try {
      await run();
      if (ctx.status >= 200 && ctx.status < 300) answer = answerOf(ctx, route);
    } finally {
      // The change is made or refused by now; that its key isn't remembered takes nothing of that back.
      await beginning.finish(answer).catch((error: unknown) => logger.warn("an idempotency key was lost", { error }));
    }
  };
}

export function asksOnce(ctx: Context): boolean {
  return ctx.headers[HEADER] !== undefined;
}

function answerOf(ctx: Context, route: RouteSpec): RememberedAnswer {
  const etag = ctx.response.get("etag");
  const body = ctx.body == null ? "" : JSON.stringify(ctx.body);
  const kept = route.secretAnswer !== true && Buffer.byteLength(body) <= MAX_BODY;
  return { status: ctx.status, ...(etag === "" ? {} : { etag }), ...(kept ? { body } : {}) };
}

function repeat(ctx: Context, { status, etag, body }: RememberedAnswer): void {
  if (body === undefined) {
    throw new HttpError(
      409,
      "Done already",
      `the request was answered with ${status}; that answer isn't kept: read the entry`,
    );
  }
  ctx.status = status;
  if (etag !== undefined) ctx.set("etag", etag);
  ctx.set("idempotency-replayed", "true");
  if (body === "") return;
  ctx.type = "application/json";
  ctx.body = body;
}

/** Another caller's key is another key. */
function idOf({ name }: Principal, key: string): string {
  return createHash("sha256").update(`${name}\0${key}`).digest("hex");
}

/**
 * Keyed with the client's key, which the store doesn't hold: a body may hold a password, and a plain hash of it would let
 * whoever reads the store guess that cheaply.
 */
function fingerprint(key: string, ctx: Context, body: Buffer): string {
  const head = [ctx.method, ctx.url, ctx.get("if-match"), ctx.get("if-none-match")].map((part) => JSON.stringify(part));
  return createHmac("sha256", key)
    .update(`${head.join("\n")}\n`)
    .update(body)
    .digest("hex");
}
