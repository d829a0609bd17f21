import assert from "node:assert/strict";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { test } from "node:test";
import Router from "@koa/router";
import Koa, { type Context } from "koa";
import type { AdminParts } from "./contract.js";
import { HttpError } from "./errors.js";
import { createGate } from "./gate.js";
import type { AdminRefusal, Principal } from "./principal.js";
import { createRouter } from "./server.js";

const parts = { node: { identity: { version: "" } } } as unknown as AdminParts;
const PEOPLE: Record<string, Principal> = {
  admin: { name: "ada", role: "admin", scopes: ["*"] },
  narrow: { name: "ada", role: "admin", scopes: ["accounts"] },
  viewer: { name: "vera", role: "viewer", scopes: ["read"] },
};

function context(method: string, url: string, headers: Record<string, string>): Context {
  const request = new IncomingMessage(new Socket());
  Object.assign(request, { method, url, headers });
  return new Koa().createContext(request, new ServerResponse(request));
}

function bench(router: Router = createRouter(parts)) {
  const refusals: AdminRefusal[] = [];
  const gate = createGate({
    router,
    authenticate: (authorization) => {
      if (authorization === undefined || authorization === "") return "missing";
      return authorization === "loading" ? "loading" : (PEOPLE[authorization] ?? "unknown");
    },
    refused: (reason) => void refusals.push(reason),
    addressOf: () => "192.0.2.1",
  });
  /** The status that the gate refuses with, or 0 where it lets pass. */
  const ask = (who: string | undefined, method: string, url: string, headers: Record<string, string> = {}): number => {
    try {
      gate(context(method, url, { ...headers, ...(who === undefined ? {} : { authorization: who }) }));
      return 0;
    } catch (error) {
      assert.ok(error instanceof HttpError, String(error));
      return error.status;
    }
  };
  return { ask, refusals };
}

test("each address of the API wants a token, known or not; health and metrics want none", () => {
  const { ask, refusals } = bench();
  for (const path of ["/health/live", "/health/ready?x=1", "/metrics", "/", "/elsewhere"])
    assert.equal(ask(undefined, "GET", path), 0);
  for (const path of ["/api", "/api/", "/api/v1/site", "/api/v1/nothing", "/api/v1/accounts/a"]) {
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
      assert.equal(ask(undefined, method, path), 401, path);
      assert.equal(ask("stranger", method, path), 401, path);
    }
  }
  assert.equal(ask("loading", "GET", "/api/v1/site"), 503);
  assert.deepEqual(new Set(refusals), new Set(["missing", "unknown"]));
});

test("role and scope are asked before anything else is looked at", () => {
  const { ask, refusals } = bench();
  assert.equal(ask("viewer", "PUT", "/api/v1/accounts/a?nonsense=1"), 403);
  assert.equal(ask("narrow", "PUT", "/api/v1/site"), 403);
  assert.deepEqual(refusals, ["role", "scope"]);
  assert.equal(ask("narrow", "PUT", "/api/v1/accounts/a"), 0);
  assert.equal(ask("viewer", "HEAD", "/api/v1/accounts/a"), 0);
});

test("a route that nobody has put into the table is for full administrators only, however it is spelled", () => {
  const router = new Router();
  router.get("/api/v1/forgotten", () => {});
  router.get("/forgotten", () => {});
  const { ask } = bench(router);
  for (const path of ["/api/v1/forgotten", "/API/v1/forgotten", "/forgotten", "/forgotten/"]) {
    assert.equal(ask(undefined, "GET", path), 401, path);
    assert.equal(ask("viewer", "GET", path), 403, path);
    assert.equal(ask("narrow", "GET", path), 403, path);
    assert.equal(ask("admin", "GET", path), 0, path);
  }
});

test("the table's routes are served under their own spelling only", () => {
  const router = createRouter(parts);
  assert.equal(router.match("/api/v1/site", "GET").pathAndMethod.length, 1);
  assert.equal(router.match("/API/v1/site", "GET").pathAndMethod.length, 0);
});

test("queries that a route doesn't know, and overridden methods, are refused", () => {
  const { ask } = bench();
  for (const query of ["?a=1", "?limit=0", "?limit=1001", "?limit=1&limit=2", "?cursor=%00", "?__proto__=1"]) {
    assert.equal(ask("admin", "GET", `/api/v1/accounts${query}`), 400, query);
  }
  assert.equal(ask("admin", "GET", "/api/v1/accounts?limit=1000&cursor=abc"), 0);
  assert.equal(ask("admin", "GET", "/api/v1/site?a=1"), 400);
  for (const name of ["x-http-method-override", "x-http-method", "x-method-override"]) {
    assert.equal(ask("admin", "GET", "/api/v1/site", { [name]: "PUT" }), 400, name);
  }
});
