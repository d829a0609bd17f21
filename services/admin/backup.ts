import type { IncomingMessage } from "node:http";
import type Router from "@koa/router";
import { MAX_ARCHIVE_BYTES } from "#backup/archive.js";
import { SCOPES, type Scope } from "#backup/contents.js";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";

export const ARCHIVE_TYPE = "application/x-tar";
/** Of each kind of difference, so many keys are named; the counts are whole. */
const MOST_NAMED = 1_000;

/**
 * Backup and restore. The archive travels unencrypted over this port, as every secret in it is sealed with the cluster
 * key; the file's own encryption is the client's, whose key never comes here.
 */
export function backupRoutes(router: Router, { backups, logger }: AdminParts): void {
  router.get("/api/v1/backup", async (ctx) => {
    const scope = scopeOf(ctx.query.scope);
    const { archive, facts } = await backups.make(scope);
    ctx.type = ARCHIVE_TYPE;
    ctx.set("content-disposition", 'attachment; filename="longshore-backup.tar"');
    ctx.body = archive;
    // Noted once it is handed over whole; a note that fails costs nothing but an alert too many.
    ctx.res.once("finish", () => {
      logger.info("a backup was made", { scope, revision: facts.revision, entries: facts.entries });
      backups.made(facts).catch((error: unknown) => logger.warn("the backup could not be noted", { error }));
    });
  });

  router.post("/api/v1/restore", async (ctx) => {
    const request = { dryRun: flag(ctx.query.dryRun), adoptStorage: flag(ctx.query.adoptStorage) };
    const archive = await readArchive(ctx.req);
    const { difference, revision, facts } = await backups.restore(archive, request);
    const { added, changed, removed, unchanged } = difference;
    const counts = { added: added.length, changed: changed.length, removed: removed.length, unchanged };
    if (!request.dryRun) logger.info("a backup was restored", { ...counts, revision, of: facts.createdAt });
    ctx.body = {
      dryRun: request.dryRun,
      revision,
      backup: facts,
      counts,
      added: added.slice(0, MOST_NAMED),
      changed: changed.slice(0, MOST_NAMED),
      removed: removed.slice(0, MOST_NAMED),
    };
  });
}

function scopeOf(value: string | string[] | undefined): Scope {
  const scope = SCOPES.find((each) => each === (value ?? "shared"));
  if (scope !== undefined) return scope;
  throw new HttpError(400, "Malformed", `scope is one of ${SCOPES.join(", ")}`);
}

function flag(value: string | string[] | undefined): boolean {
  if (value === undefined || value === "false") return false;
  if (value === "true") return true;
  throw new HttpError(400, "Malformed", "dryRun and adoptStorage are true or false");
}

async function readArchive(request: IncomingMessage): Promise<Buffer> {
  if (request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase() !== ARCHIVE_TYPE) {
    throw new HttpError(415, "Unsupported media type", `send ${ARCHIVE_TYPE}, as GET /api/v1/backup answers`);
  }
  const tooLarge = () => new HttpError(413, "Too large", `an archive has at most ${MAX_ARCHIVE_BYTES} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > MAX_ARCHIVE_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  // Leaving the loop must not end the connection: the client is to hear why.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ARCHIVE_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
