import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdminParts } from "./contract.js";
import { openApiDocument, openApiPath } from "./openapi.js";
import { parametersOf, type RouteSpec } from "./route.js";
import { ROUTES } from "./route-table.js";
import { createRouter } from "./server.js";

/** Registering routes asks nothing of the parts but the version. */
const parts = { node: { identity: { version: "1.2.3" } } } as unknown as AdminParts;

const registered = createRouter(parts).stack.flatMap(({ path, methods }) =>
  methods.filter((method) => method !== "HEAD").map((method) => `${method} ${String(path)}`),
);
const listed = ROUTES.map(({ method, path }) => `${method} ${path}`);

test("each route that is registered is in the table, and the other way round", () => {
  assert.deepEqual(
    registered.filter((route) => !listed.includes(route)),
    [],
    "registered, but nobody said who may use it: add it to route-table.ts",
  );
  assert.deepEqual(
    listed.filter((route) => !registered.includes(route)),
    [],
    "in route-table.ts, but not registered",
  );
  assert.equal(new Set(listed).size, listed.length, "a route is listed twice");
  assert.equal(new Set(ROUTES.map(({ id }) => id)).size, ROUTES.length, "two routes have one id");
});

test("only health, metrics and nothing else is open; viewers write nothing", () => {
  const open = ROUTES.filter(({ access }) => access === "open").map(({ path }) => path);
  assert.deepEqual(open, ["/health/live", "/health/ready", "/health/serving", "/metrics"]);
  for (const { method, path, access } of ROUTES) {
    if (method === "GET") continue;
    assert.ok(typeof access === "object" && access.role !== "viewer", `${method} ${path}`);
  }
});

test("a scope below * never leads to administrators' tokens", () => {
  for (const { method, path, access } of ROUTES) {
    if (method === "GET" || !path.startsWith("/api/v1/administrators")) continue;
    assert.deepEqual(access, { scope: "*", role: "admin" }, `${method} ${path}`);
  }
});

test("the document names each route with its parameters, and can be written as JSON", () => {
  const document = JSON.parse(JSON.stringify(openApiDocument(ROUTES, "1.2.3"))) as {
    openapi: string;
    info: { version: string };
    paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>>;
  };
  assert.match(document.openapi, /^3\.1\./);
  assert.equal(document.info.version, "1.2.3");
  for (const { method, path } of ROUTES) {
    const operation = document.paths[openApiPath(path)]?.[method.toLowerCase()];
    assert.ok(operation, `${method} ${path}`);
    const named = (operation.parameters ?? []).filter((one) => one.in === "path").map(({ name }) => name);
    assert.deepEqual(named, parametersOf(path));
  }
  assert.doesNotMatch(
    JSON.stringify(document),
    /"\$ref":"#\/\$defs/,
    "a reference that leads nowhere in this document",
  );
});

test("a body that may not have more fields says so; an answer may grow", () => {
  const document = openApiDocument(ROUTES, "") as unknown as {
    paths: Record<string, Record<string, { requestBody?: unknown; responses: unknown }>>;
  };
  const put = document.paths["/api/v1/accounts/{name}"]?.put;
  assert.match(JSON.stringify(put?.requestBody), /"additionalProperties":false/);
  const success: RouteSpec | undefined = ROUTES.find(({ id }) => id === "putAccount");
  assert.ok(success);
  const answers = put?.responses as Record<string, unknown>;
  assert.doesNotMatch(JSON.stringify(answers[200]), /"additionalProperties":false/);
});
