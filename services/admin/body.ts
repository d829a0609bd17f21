import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { faultsOf, InvalidConfigError } from "#config/errors.js";
import { monotonicMs } from "#lib/clock.js";
import { HttpError } from "./errors.js";

/** Bodies that were read already: the handler gets the one that was read to recognise a repetition. */
const read = new WeakMap<IncomingMessage, Buffer>();

/** Reads a JSON body of at most `limit` bytes. Throws HttpError 415, 413 or 400. */
export async function readJson(request: IncomingMessage, limit: number): Promise<unknown> {
  const bytes = await readBody(request, limit);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new HttpError(400, "Malformed", "the body isn't JSON in UTF-8");
  }
}

/**
 * Reads a JSON body of at most `limit` bytes and checks it; `what` says what is wrong where it doesn't pass. Throws as
 * `readJson`, or InvalidConfigError with the path of each fault.
 */
export async function readValid<Schema extends z.ZodType>(
  request: IncomingMessage,
  limit: number,
  schema: Schema,
  what: string,
): Promise<z.output<Schema>> {
  const result = schema.safeParse(await readJson(request, limit));
  if (result.success) return result.data;
  throw new InvalidConfigError(what, faultsOf(result.error));
}

/** The bytes of a JSON body, at most `limit`; may be asked for more than once. Throws HttpError 415 or 413. */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const before = read.get(request);
  if (before !== undefined) return before;
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json" && type?.endsWith("+json") !== true) {
    throw new HttpError(415, "Unsupported media type", "send application/json");
  }
  const tooLarge = () => new HttpError(413, "Too large", `a body has at most ${limit} bytes here`);
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  // Leaving the loop must not end the connection: the client is to hear why.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge();
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  read.set(request, bytes);
  return bytes;
}

/** What a client may still send of a body that was refused, and for how long we listen. */
export const DRAIN_BYTES = 8_000_000;
export const DRAIN_MS = 2_000;

/**
 * Reads and drops the rest of a body, within bounds: closing on unread bytes would reset the connection, and the client
 * would never see the answer. False where more is left: then the connection is to be closed.
 */
export async function drained(request: IncomingMessage): Promise<boolean> {
  if (request.complete || request.destroyed) return request.complete;
  const until = monotonicMs() + DRAIN_MS;
  let size = 0;
  await new Promise<void>((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      request.off("data", onData).off("end", finish).off("close", finish).off("error", finish);
      request.pause();
      resolve();
    };
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > DRAIN_BYTES || monotonicMs() > until) finish();
    };
    const timer = setTimeout(finish, DRAIN_MS);
    request.on("data", onData).on("end", finish).on("close", finish).on("error", finish);
    request.resume();
  });
  return request.complete;
}

/** An entity tag of ours is the entry's revision. */
export function entityTag(revision: number): string {
  return `"${revision}"`;
}

/**
 * What `If-Match` and `If-None-Match` demand (RFC 9110, 13.1): a revision, that there is none, or nothing. Throws HttpError
 * 400 for what isn't a tag of ours.
 */
export function preconditionOf(headers: IncomingMessage["headers"]): "absent" | number | undefined {
  const match = headers["if-match"];
  if (headers["if-none-match"] !== undefined) {
    if (headers["if-none-match"].trim() !== "*" || match !== undefined) {
      throw new HttpError(400, "Malformed precondition", "use If-None-Match: * alone, or If-Match with an ETag");
    }
    return "absent";
  }
  if (match === undefined) return undefined;
  const revision = /^(?:W\/)?"?(\d{1,15})"?$/.exec(match.trim())?.[1];
  if (revision === undefined) {
    throw new HttpError(400, "Malformed precondition", 'If-Match takes the ETag of an earlier answer, such as "42"');
  }
  return Number(revision);
}
