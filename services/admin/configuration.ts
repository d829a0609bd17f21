import type Router from "@koa/router";
import { z } from "zod";
import { actorOf } from "./actor.js";
import { noteChanges } from "./audit-trail.js";
import { entityTag, preconditionOf, readJson } from "./body.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { demandEverything } from "./gate.js";

/** A document of 1,000 accounts has some hundred KiB. */
const DOCUMENT_LIMIT = 8 * 1024 * 1024;
const SMALL_LIMIT = 1_024;

const rollbackSchema = z.strictObject({ revision: z.int().min(1), dryRun: z.boolean().default(false) });

/** The whole site as one document (config/document.ts): read, compared, applied in one step, and taken back. */
export function configurationRoutes(router: Router, { documents, logger, members, node }: AdminParts): void {
  router.get("/api/v1/config", async (ctx) => {
    const hashes = flag(ctx.query.hashes, "hashes", false);
    if (hashes) demandEverything(ctx, "reading hashes of passwords and tokens");
    const { document, revision } = await documents.document(hashes);
    ctx.set("etag", entityTag(revision));
    ctx.body = { revision, document };
  });

  /** What a document would change. Faults don't make it fail: they are its answer. */
  router.post("/api/v1/config/diff", async (ctx) => {
    const prune = flag(ctx.query.prune, "prune", true);
    ctx.body = await documents.plan(await readJson(ctx.req, DOCUMENT_LIMIT), prune);
  });

  router.put("/api/v1/config", async (ctx) => {
    const prune = flag(ctx.query.prune, "prune", true);
    const expected = preconditionOf(ctx.headers);
    if (expected === "absent") throw new HttpError(400, "Malformed precondition", "there always is a configuration");
    const document = await readJson(ctx.req, DOCUMENT_LIMIT);
    const applied = await documents.apply(document, prune, {
      by: actorOf(ctx),
      ...(expected === undefined ? {} : { expected }),
    });
    noteChanges(ctx, applied.changes);
    logger.info("a whole-site document was applied", { changes: applied.changes.length, revision: applied.revision });
    ctx.set("etag", entityTag(applied.revision));
    ctx.body = applied;
  });

  router.get("/api/v1/config/history", async (ctx) => {
    const changes = await documents.history();
    ctx.body = {
      changes: changes.map(({ revision, at, by, summary, replaced }) => ({
        revision,
        at: new Date(at).toISOString(),
        by,
        summary,
        entries: replaced.map(({ key }) => key.slice("config/".length)),
      })),
    };
  });

  router.post("/api/v1/config/rollback", async (ctx) => {
    const parsed = rollbackSchema.safeParse(await readJson(ctx.req, SMALL_LIMIT));
    if (!parsed.success) throw new HttpError(400, "Malformed", z.prettifyError(parsed.error));
    const { revision, dryRun } = parsed.data;
    if (dryRun) {
      ctx.body = await documents.planRollback(revision);
      return;
    }
    const applied = await documents.rollback(revision, { by: actorOf(ctx) });
    noteChanges(ctx, applied.changes);
    logger.info("the configuration was rolled back", { to: revision, revision: applied.revision });
    ctx.body = applied;
  });

  router.post("/api/v1/config/rotate-key", async (ctx) => {
    const [key = ""] = node.sealKeys();
    const lacking = lackingKey(key, members.list());
    if (lacking.length > 0) {
      const detail = `the key ${key} isn't on ${lacking.join(", ")} yet: add it to their cluster key files first`;
      throw new HttpError(409, "Not every node has the key", detail);
    }
    const rotated = await documents.rotateKey();
    logger.info("all secrets are sealed with the cluster key file's first key", { ...rotated, by: actorOf(ctx) });
    ctx.body = rotated;
  });
}

/** Nodes that couldn't read what is sealed with this key. Pure. */
export function lackingKey(
  key: string,
  nodes: readonly { name: string; sealKeys?: readonly string[] | undefined }[],
): string[] {
  return nodes.filter(({ sealKeys }) => sealKeys?.includes(key) !== true).map(({ name }) => name);
}

function flag(value: string | string[] | undefined, name: string, absent: boolean): boolean {
  if (value === undefined) return absent;
  if (value !== "true" && value !== "false") throw new HttpError(400, "Malformed", `${name} is true or false`);
  return value === "true";
}
