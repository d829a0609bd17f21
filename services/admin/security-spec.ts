import { z } from "zod";
import { networkSchema } from "#config/fields.js";
import type { Access } from "./principal.js";
import type { RouteSpec } from "./route.js";

const LIMIT = 4_096;
const looks: Access = { scope: "security", role: "viewer" };
const acts: Access = { scope: "security", role: "operator" };

const measure = {
  active: z.boolean(),
  at: z.string(),
  until: z.string().nullable(),
  level: z.int(),
  by: z.string(),
  reason: z.string(),
};
const ban = z.strictObject({ address: z.string(), ...measure });
const lockout = z.strictObject({ account: z.string(), ...measure });
/** Of all nodes: how many there are, and which nodes didn't answer. */
const gathered = { total: z.int(), silent: z.array(z.string()) };
const session = z.strictObject({
  id: z.string(),
  account: z.string(),
  address: z.string(),
  port: z.int(),
  protocol: z.string(),
  method: z.string(),
  since: z.string(),
  node: z.string(),
});
/** Not strict: protocols that come later say more. */
const transfer = z.looseObject({ id: z.string(), account: z.string(), node: z.string(), since: z.string() });

export const newBanSchema = z.strictObject({
  /** An address or a network; one IPv6 address means just that one. */
  address: networkSchema,
  /** Absent: until it is removed. */
  seconds: z.int().min(1).max(315_360_000).optional(),
  reason: z.string().max(256).default(""),
});

export const ROUTES_OF_SECURITY: readonly RouteSpec[] = [
  {
    method: "GET",
    path: "/api/v1/bans",
    id: "listBans",
    summary: "Addresses that are or were shut out",
    access: looks,
    answers: { 200: z.strictObject({ bans: z.array(ban) }) },
  },
  {
    method: "POST",
    path: "/api/v1/bans",
    id: "addBan",
    summary: "Ban an address or a network on all nodes; its sessions end",
    access: acts,
    body: { schema: newBanSchema, limit: LIMIT },
    answers: { 201: ban },
  },
  {
    method: "DELETE",
    path: "/api/v1/bans/:address",
    id: "removeBan",
    summary: "Lift a ban",
    access: acts,
    answers: { 204: "empty" },
  },
  {
    method: "GET",
    path: "/api/v1/lockouts",
    id: "listLockouts",
    summary: "Accounts whose passwords are or were locked for new addresses",
    access: looks,
    answers: { 200: z.strictObject({ lockouts: z.array(lockout) }) },
  },
  {
    method: "DELETE",
    path: "/api/v1/lockouts/:account",
    id: "removeLockout",
    summary: "Lift a lockout",
    access: acts,
    answers: { 204: "empty" },
  },
  {
    method: "GET",
    path: "/api/v1/sessions",
    id: "listSessions",
    summary: "Who is logged in, on all nodes",
    access: looks,
    answers: { 200: z.strictObject({ sessions: z.array(session), ...gathered }) },
  },
  {
    method: "DELETE",
    path: "/api/v1/sessions/:id",
    id: "killSession",
    summary: "End a session, whichever node it is on",
    access: acts,
    answers: { 200: z.strictObject({ id: z.string(), node: z.string() }) },
  },
  {
    method: "GET",
    path: "/api/v1/transfers",
    id: "listTransfers",
    summary: "Uploads and downloads under way, on all nodes",
    access: looks,
    answers: { 200: z.strictObject({ transfers: z.array(transfer), ...gathered }) },
  },
];
