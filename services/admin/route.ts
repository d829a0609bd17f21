import type { z } from "zod";
import type { Access } from "./principal.js";

export const METHODS = ["GET", "PUT", "POST", "DELETE"] as const;
export type Method = (typeof METHODS)[number];

/**
 * What a route is: who may use it, what it takes, what it answers. The gate (gate.ts) enforces access, query and size; the
 * OpenAPI document is made of the same table (openapi.ts); the handler stands in the file of its resource.
 */
export interface RouteSpec {
  readonly method: Method;
  /** As the router spells it: `:name` is a parameter. */
  readonly path: string;
  /** The OpenAPI operation's id; unique, for generated clients. */
  readonly id: string;
  readonly summary: string;
  readonly access: Access;
  /** Query parameters, strict. Absent: none. */
  readonly query?: z.ZodObject;
  readonly body?: BodySpec;
  /** Instead of a body in JSON: bytes of this media type, read by the handler itself, at most so many. */
  readonly archive?: { readonly type: string; readonly limit: number };
  /** Successful answers, and refusals that aren't problems (health). `empty`: no body. `text`: not JSON. */
  readonly answers: Readonly<Record<number, z.ZodType | "empty" | "text">>;
  /** Whether `If-Match` is heeded, or demanded. */
  readonly precondition?: "heeded" | "demanded";
  /** The answer carries an ETag. */
  readonly tagged?: boolean;
  /** The answer holds a secret that is shown once, so it is never kept for a repetition. */
  readonly secretAnswer?: boolean;
}

export interface BodySpec {
  readonly schema: z.ZodType;
  /** Bytes. */
  readonly limit: number;
}

/** Names of the parameters in a route's path. */
export function parametersOf(path: string): string[] {
  return [...path.matchAll(/:([A-Za-z]+)/g)].map(([, name = ""]) => name);
}

/** Whether an Idempotency-Key is heeded. */
export function takesIdempotencyKey({ method, archive }: Pick<RouteSpec, "method" | "archive">): boolean {
  return (method === "POST" || method === "PUT") && archive === undefined;
}
