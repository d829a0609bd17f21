import { ROUTES_OF_ACTIVE } from "./active-spec.js";
import { ROUTES_OF_ADMINISTRATORS } from "./administrators-spec.js";
import { ROUTES_OF_AUDIT } from "./audit-spec.js";
import { ROUTES_OF_BACKUP } from "./backup-spec.js";
import { ROUTES_OF_CONFIGURATION } from "./configuration-spec.js";
import type { Access } from "./principal.js";
import type { Method, RouteSpec } from "./route.js";
import * as schema from "./schemas.js";
import { ROUTES_OF_SECURITY } from "./security-spec.js";
import { ROUTES_OF_STORAGE } from "./storage-trial.js";
import { ROUTES_OF_USAGE } from "./usage-spec.js";

const ACCOUNT_LIMIT = 1_500_000;
const SMALL_LIMIT = 65_536;

const looks = (scope: "read" | "accounts" | "nodes" | "config"): Access => ({ scope, role: "viewer" });

/**
 * Every route of the admin server. One that is registered but not in here is for full administrators only, until somebody
 * has thought about it; a test demands that there is none.
 */
export const ROUTES: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/health/live",
    id: "live",
    summary: "Whether the process answers",
    access: "open",
    answers: { 200: schema.live },
  },
  {
    method: "GET",
    path: "/health/ready",
    id: "ready",
    summary: "Whether nothing is missing: new partners are welcome, or would be on the active node",
    access: "open",
    answers: { 200: schema.ready, 503: schema.ready },
  },
  {
    method: "GET",
    path: "/health/serving",
    id: "serving",
    summary: "Whether partners that are here are served",
    access: "open",
    answers: { 200: schema.serving, 503: schema.serving },
  },
  {
    method: "GET",
    path: "/metrics",
    id: "metrics",
    summary: "The page for Prometheus",
    access: "open",
    answers: { 200: "text" },
  },
  {
    method: "GET",
    path: "/api/v1/openapi.json",
    id: "openapi",
    summary: "This document",
    access: "self",
    answers: { 200: schema.document },
    tagged: true,
  },
  {
    method: "GET",
    path: "/api/v1/self",
    id: "self",
    summary: "Who asks: name, role and scopes of the token",
    access: "self",
    answers: { 200: schema.self },
  },
  {
    method: "GET",
    path: "/api/v1/status",
    id: "status",
    summary: "The site as this node sees it",
    access: looks("read"),
    answers: { 200: schema.status },
  },
  {
    method: "GET",
    path: "/api/v1/connections",
    id: "listConnections",
    summary: "Who is connected to this node",
    access: looks("read"),
    answers: { 200: schema.connections },
  },
  {
    method: "GET",
    path: "/api/v1/cluster/convergence",
    id: "convergence",
    summary: "Whether a revision is in force on every node",
    access: "self",
    query: schema.convergenceQuery,
    answers: { 200: schema.convergence },
  },
  {
    method: "GET",
    path: "/api/v1/nodes",
    id: "listNodes",
    summary: "The nodes that are up",
    access: looks("nodes"),
    query: schema.pageQuery,
    answers: { 200: schema.nodes },
    tagged: true,
  },
  {
    method: "POST",
    path: "/api/v1/nodes/:id/drain",
    id: "drainNode",
    summary: "Let a node take no new sessions",
    access: { scope: "nodes", role: "operator" },
    answers: { 200: schema.wish },
  },
  {
    method: "POST",
    path: "/api/v1/nodes/:id/undrain",
    id: "undrainNode",
    summary: "Let a drained node take sessions again",
    access: { scope: "nodes", role: "operator" },
    answers: { 200: schema.wish },
  },
  {
    method: "GET",
    path: "/api/v1/site",
    id: "getSite",
    summary: "The site's settings",
    access: looks("config"),
    answers: { 200: schema.site },
    tagged: true,
  },
  {
    method: "PUT",
    path: "/api/v1/site",
    id: "putSite",
    summary: "Replace the site's settings",
    access: { scope: "config", role: "admin" },
    body: { schema: schema.siteBody, limit: SMALL_LIMIT },
    answers: { 200: schema.site },
    precondition: "demanded",
    tagged: true,
  },
  {
    method: "GET",
    path: "/api/v1/accounts",
    id: "listAccounts",
    summary: "Partners' logins",
    access: looks("accounts"),
    query: schema.pageQuery,
    answers: { 200: schema.accounts },
    tagged: true,
  },
  {
    method: "GET",
    path: "/api/v1/accounts/:name",
    id: "getAccount",
    summary: "One partner's login",
    access: looks("accounts"),
    answers: { 200: schema.account },
    tagged: true,
  },
  {
    method: "PUT",
    path: "/api/v1/accounts/:name",
    id: "putAccount",
    summary: "Make or replace a partner's login",
    access: { scope: "accounts", role: "admin" },
    body: { schema: schema.accountBody, limit: ACCOUNT_LIMIT },
    answers: { 200: schema.account, 201: schema.account },
    precondition: "heeded",
    tagged: true,
  },
  {
    method: "DELETE",
    path: "/api/v1/accounts/:name",
    id: "deleteAccount",
    summary: "Remove a partner's login; its files stay",
    access: { scope: "accounts", role: "admin" },
    answers: { 204: "empty" },
    precondition: "heeded",
  },
  ...ROUTES_OF_ACTIVE,
  ...ROUTES_OF_ADMINISTRATORS,
  ...ROUTES_OF_CONFIGURATION,
  ...ROUTES_OF_SECURITY,
  ...ROUTES_OF_BACKUP,
  ...ROUTES_OF_AUDIT,
  ...ROUTES_OF_STORAGE,
  ...ROUTES_OF_USAGE,
];

const BY_NAME = new Map(ROUTES.map((route) => [`${route.method} ${route.path}`, route]));

/** HEAD is GET without the body. */
export function routeSpec(method: string, path: string): RouteSpec | undefined {
  return BY_NAME.get(`${method === "HEAD" ? "GET" : (method as Method)} ${path}`);
}
