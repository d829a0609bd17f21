import { createHash } from "node:crypto";
import type { Context } from "koa";
import { HttpError } from "./errors.js";
import { PAGE_LIMIT } from "./schemas.js";

export interface Page<T> {
  readonly items: readonly T[];
  /** The name of the last item, where more follow. */
  readonly next?: string;
}

/** What a list's query asks for. Throws HttpError 400; the gate has checked the form of the limit. */
export function pageOf(query: Context["query"]): { readonly limit: number; readonly after?: string } {
  const limit = query.limit === undefined ? PAGE_LIMIT : Number(query.limit);
  if (query.cursor === undefined) return { limit };
  const bytes = Buffer.from(String(query.cursor), "base64url");
  try {
    const after = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // Decoding ignores what isn't base64: only a cursor that we would make ourselves is one.
    if (after !== "" && cursorOf(after) === query.cursor) return { limit, after };
  } catch {
    // Not UTF-8: not a cursor of ours either.
  }
  throw new HttpError(
    400,
    "Malformed",
    'cursor: use "next" of the page before as it is, or the address in its Link header',
  );
}

/** One page of a list that is whole in memory; goes on behind the name that the cursor holds, also where that one is gone. */
export function pageByName<T>(all: readonly T[], nameOf: (item: T) => string, query: Context["query"]): Page<T> {
  const { limit, after } = pageOf(query);
  const sorted = [...all].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const rest = after === undefined ? sorted : sorted.filter((item) => nameOf(item) > after);
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  return rest.length <= limit || last === undefined ? { items } : { items, next: nameOf(last) };
}

/** Answers a page as `{[field]: items, next?}`, with `Link` (RFC 8288) to the next one and an ETag of its content. */
export function answerPage<T>(ctx: Context, field: string, page: Page<T>, shown: (item: T) => unknown): void {
  const next = page.next === undefined ? undefined : cursorOf(page.next);
  const body = { [field]: page.items.map(shown), ...(next === undefined ? {} : { next }) };
  if (next !== undefined) {
    const query = new URLSearchParams({ ...(ctx.query.limit === undefined ? {} : { limit: String(ctx.query.limit) }) });
    query.set("cursor", next);
    ctx.set("link", `<${ctx.path}?${query}>; rel="next"`);
  }
  ctx.set("etag", `"${createHash("sha256").update(JSON.stringify(body)).digest("base64url").slice(0, 22)}"`);
  ctx.body = body;
}

function cursorOf(name: string): string {
  return Buffer.from(name).toString("base64url");
}
