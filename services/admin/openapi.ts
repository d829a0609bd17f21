import { z } from "zod";
import type { Access } from "./principal.js";
import { parametersOf, type RouteSpec, takesIdempotencyKey } from "./route.js";
import { problem } from "./schemas.js";

/** A part of the document. */
type Json = Readonly<Record<string, unknown>>;

/** Problems that a route can answer with, besides those of its own, for each kind of route. */
const PROBLEMS = {
  any: { 400: "Malformed request", 500: "A fault of ours", 503: "Busy, cut off, or the store doesn't answer" },
  guarded: { 401: "No token, or none that is known", 403: "The role or the token's scope isn't enough" },
  named: { 404: "There is none" },
  body: { 413: "The body is too large", 415: "Not application/json" },
  archive: { 409: "It needs its own cluster key", 413: "The body is too large", 415: "Not of the media type" },
  write: {
    409: "It exists already, or a request with this key is under way",
    412: "Changed by somebody else",
    422: "Not valid",
    504: "It isn't known whether the change was made",
  },
  demanded: { 428: "If-Match is missing" },
} as const;

/** The OpenAPI 3.1 document of all routes. Pure; made of the table that the gate enforces. */
export function openApiDocument(routes: readonly RouteSpec[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = openApiPath(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Longshore admin API",
      version,
      description:
        "Any node answers. Answers may get more fields: ignore those that you don't know. A change is in force on every node within a second; GET /api/v1/cluster/convergence tells when.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "A token of an administrator, or the site's own." },
      },
      schemas: { Problem: schemaOf(problem, "output") },
    },
  };
}

export function openApiPath(path: string): string {
  return path.replace(/:([A-Za-z]+)/g, "{$1}");
}

function operationOf(route: RouteSpec): Json {
  const parameters = [...pathParameters(route), ...queryParameters(route), ...headerParameters(route)];
  return {
    operationId: route.id,
    summary: route.summary,
    ...(typeof route.access === "object" ? { "x-longshore-role": route.access.role } : {}),
    ...(typeof route.access === "object" ? { "x-longshore-scope": route.access.scope } : {}),
    security: securityOf(route.access),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            description: `At most ${route.body.limit} bytes.`,
            content: { "application/json": { schema: schemaOf(route.body.schema, "input") } },
          },
        }),
    ...(route.archive === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            description: `At most ${route.archive.limit} bytes.`,
            content: { [route.archive.type]: { schema: { type: "string", format: "binary" } } },
          },
        }),
    responses: responsesOf(route),
  };
}

function securityOf(access: Access): readonly Json[] {
  return access === "open" ? [] : [{ token: [] }];
}

function pathParameters({ path }: RouteSpec): Json[] {
  const schema = { type: "string", minLength: 1 };
  return parametersOf(path).map((name) => ({ name, in: "path", required: true, schema }));
}

function queryParameters({ query }: RouteSpec): Json[] {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(query, "input") as {
    properties?: Record<string, Json>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    schema,
  }));
}

function headerParameters(route: RouteSpec): Json[] {
  const header = (name: string, description: string, required = false, pattern?: string) => ({
    name,
    in: "header",
    required,
    description,
    schema: { type: "string", ...(pattern === undefined ? {} : { pattern }) },
  });
  const found: Json[] = [];
  if (route.precondition !== undefined) {
    const demanded = route.precondition === "demanded";
    found.push(header("If-Match", "The ETag that must still hold.", demanded, ETAG));
  }
  if (route.precondition === "heeded" && route.method === "PUT")
    found.push(header("If-None-Match", "`*`: only if there is none yet.", false, "^\\*$"));
  if (route.tagged === true && route.method === "GET")
    found.push(header("If-None-Match", "An earlier ETag: 304 where it still holds."));
  if (takesIdempotencyKey(route))
    found.push(header("Idempotency-Key", "Repeating the request with it has no second effect.", false, KEY));
  return found;
}

const ETAG = '^(W/)?"?[0-9]{1,15}"?$';
export const KEY = "^[!-~]{1,255}$";

function responsesOf(route: RouteSpec): Json {
  const writes = route.method !== "GET";
  const problems = {
    ...PROBLEMS.any,
    ...(route.access === "open" ? {} : PROBLEMS.guarded),
    ...(route.path.includes(":") ? PROBLEMS.named : {}),
    ...(route.body === undefined ? {} : PROBLEMS.body),
    ...(route.archive === undefined ? {} : PROBLEMS.archive),
    ...(writes ? PROBLEMS.write : {}),
    ...(route.precondition === "demanded" ? PROBLEMS.demanded : {}),
  };
  const responses: Record<string, Json> = {};
  for (const [status, description] of Object.entries(problems)) {
    const schema = { $ref: "#/components/schemas/Problem" };
    responses[status] = { description, content: { "application/problem+json": { schema } } };
  }
  if (route.tagged === true && !writes) responses[304] = { description: "As If-None-Match names it" };
  for (const [status, answer] of Object.entries(route.answers)) {
    const content =
      answer === "empty"
        ? undefined
        : answer === "text"
          ? { "text/plain": { schema: { type: "string" } } }
          : { "application/json": { schema: open(schemaOf(answer, "output")) } };
    const headers = route.tagged === true ? { headers: { ETag: { schema: { type: "string" } } } } : {};
    responses[status] = { description: route.summary, ...headers, ...(content === undefined ? {} : { content }) };
  }
  return responses;
}

function schemaOf(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}

/** An answer may grow; only what we are sent must have no unknown field. */
function open(schema: Json): Json {
  const entries = Object.entries(schema).filter(([key, value]) => key !== "additionalProperties" || value !== false);
  return Object.fromEntries(entries.map(([key, value]) => [key, openPart(value)]));
}

function openPart(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(openPart);
  return typeof value === "object" && value !== null ? open(value as Json) : value;
}
