import type Router from "@koa/router";
import { InvalidConfigError } from "#config/errors.js";
import type { EntryKind, StoredEntry } from "#config/site-documents.js";
import { actorOf } from "./actor.js";
import { noteChange } from "./audit-trail.js";
import { entityTag, preconditionOf, readJson } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { answerPage, pageByName } from "./pages.js";

const BODY_LIMIT = 262_144;

/** Kinds that this file serves, by their collection. Administrators have a resource of their own: they carry tokens. */
const COLLECTIONS: readonly (readonly [collection: string, kind: EntryKind])[] = [
  ["groups", "group"],
  ["profiles", "profile"],
  ["keys", "key"],
  ["certificates", "certificate"],
];

/** Groups, connection profiles, SSH keys and certificates. A secret goes in as `secret` and never comes out. */
export function entriesRoutes(router: Router, { documents, logger }: AdminParts): void {
  for (const [collection, kind] of COLLECTIONS) {
    const at = `/api/v1/${collection}`;
    const notFound = (name: string) => new HttpError(404, "Not found", `there is no ${kind} "${name}"`);

    router.get(at, async (ctx) => {
      const nameOf = ({ value }: StoredEntry<EntryKind>) => ("name" in value ? value.name : value.id);
      answerPage(ctx, collection, pageByName(await documents.list(kind), nameOf, ctx.query), shown);
    });

    router.get(`${at}/:name`, async (ctx) => {
      const found = await documents.get(kind, String(ctx.params.name));
      if (found === undefined) throw notFound(String(ctx.params.name));
      ctx.set("etag", entityTag(found.revision));
      ctx.body = shown(found);
    });

    router.put(`${at}/:name`, async (ctx) => {
      const name = String(ctx.params.name);
      const expected = preconditionOf(ctx.headers);
      const fields = fieldsOf(kind, await readJson(ctx.req, BODY_LIMIT));
      const before = await documents.get(kind, name).catch(() => undefined);
      const stored = await documents.put(kind, name, fields, expected, { by: actorOf(ctx) });
      noteChange(ctx, before?.value, stored.value);
      logger.info("an entry of the configuration was written", { kind, name, revision: stored.revision });
      ctx.status = stored.created ? 201 : 200;
      ctx.set("etag", entityTag(stored.revision));
      ctx.body = shown(stored);
    });

    router.delete(`${at}/:name`, async (ctx) => {
      const name = String(ctx.params.name);
      const expected = preconditionOf(ctx.headers);
      if (expected === "absent") {
        throw new HttpError(400, "Malformed precondition", `an absent ${kind} can't be deleted`);
      }
      const before = await documents.get(kind, name).catch(() => undefined);
      if (!(await documents.remove(kind, name, expected, { by: actorOf(ctx) }))) throw notFound(name);
      noteChange(ctx, before?.value, null);
      logger.info("an entry of the configuration was deleted", { kind, name });
      ctx.status = 204;
    });
  }
}

function shown<K extends EntryKind>({ value, revision }: StoredEntry<K>): Record<string, unknown> {
  const { sealed, ...rest } = value as typeof value & { sealed?: string };
  return {
    ...rest,
    ...("host" in rest || "chain" in rest || "publicKey" in rest ? { hasSecret: sealed !== undefined } : {}),
    revision,
  };
}

/** What only we say (`shown`) may come back from a client that edits an answer. */
function fieldsOf(kind: EntryKind, body: unknown): Record<string, unknown> {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new InvalidConfigError(`the ${kind} isn't valid`, [{ path: "", message: "must be an object" }]);
  }
  const { hasSecret: _hasSecret, revision: _revision, ...fields } = body as Record<string, unknown>;
  return fields;
}
