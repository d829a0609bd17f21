import type { IncomingMessage } from "node:http";
import { HttpError } from "./errors.js";

/** Reads a JSON body of at most `limit` bytes. Throws HttpError 415, 413 or 400. */
export async function readJson(request: IncomingMessage, limit: number): Promise<unknown> {
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json" && type?.endsWith("+json") !== true) {
    throw new HttpError(415, "Unsupported media type", "send application/json");
  }
  const tooLarge = () => new HttpError(413, "Too large", `a body has at most ${limit} bytes here`);
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
  } catch {
    throw new HttpError(400, "Malformed", "the body isn't JSON in UTF-8");
  }
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
