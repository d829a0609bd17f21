import type { Access } from "./principal.js";
import type { RouteSpec } from "./route.js";
import * as schema from "./schemas.js";

const LIMIT = 65_536;
/** Whoever may make administrators could make himself anything: no narrower scope opens these. */
const everything: Access = { scope: "*", role: "admin" };
const looks: Access = { scope: "config", role: "viewer" };

export const ROUTES_OF_ADMINISTRATORS: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/administrators",
    id: "listAdministrators",
    summary: "Who may administer the site",
    access: looks,
    query: schema.pageQuery,
    answers: { 200: schema.administrators },
    tagged: true,
  },
  {
    method: "GET",
    path: "/api/v1/administrators/:name",
    id: "getAdministrator",
    summary: "One administrator",
    access: looks,
    answers: { 200: schema.administrator },
    tagged: true,
  },
  {
    method: "PUT",
    path: "/api/v1/administrators/:name",
    id: "putAdministrator",
    summary: "Make or replace an administrator; the tokens stay",
    access: everything,
    body: { schema: schema.administratorBody, limit: LIMIT },
    answers: { 200: schema.administrator, 201: schema.administrator },
    precondition: "heeded",
    tagged: true,
  },
  {
    method: "DELETE",
    path: "/api/v1/administrators/:name",
    id: "deleteAdministrator",
    summary: "Remove an administrator and all tokens",
    access: everything,
    answers: { 204: "empty" },
    precondition: "heeded",
  },
  {
    method: "POST",
    path: "/api/v1/administrators/:name/tokens",
    id: "makeToken",
    summary: "Make a token, which is shown this once",
    access: everything,
    body: { schema: schema.tokenBody, limit: LIMIT },
    answers: { 201: schema.newToken },
    precondition: "heeded",
    secretAnswer: true,
  },
  {
    method: "DELETE",
    path: "/api/v1/administrators/:name/tokens/:id",
    id: "revokeToken",
    summary: "Revoke a token",
    access: everything,
    answers: { 204: "empty" },
    precondition: "heeded",
  },
];
