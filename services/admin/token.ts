import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Administrator, AdministratorToken } from "#config/entries.js";
import { type AdminRefusal, type Principal, SITE_TOKEN_NAME } from "./principal.js";

/** What `Authorization` proved. `loading`: the administrators aren't known yet, so nobody can say. */
export type Authentication =
  | Principal
  | Extract<AdminRefusal, "missing" | "unknown" | "expired" | "disabled">
  | "loading";

export interface AuthenticatorOptions {
  /** Of `adminTokenFile`: it makes the first administrator, and is the way in where all others are lost. */
  readonly siteToken: () => string;
  /** Of the configuration in force; undefined before there is one. The same map means the same content. */
  readonly administrators: () => ReadonlyMap<string, Administrator> | undefined;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

const TOKEN = /^lsa_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;
const NOBODY = { hash: "0".repeat(64) };

/** Checks `Authorization: Bearer <token>` (RFC 6750) in a time that depends on no secret. */
export function createAuthenticator(
  options: AuthenticatorOptions,
): (authorization: string | undefined) => Authentication {
  const { now = Date.now } = options;
  let indexed: ReadonlyMap<string, Administrator> | undefined;
  let index: ReadonlyMap<string, Owned> = new Map();

  return (authorization) => {
    const given = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(authorization ?? "")?.[1];
    if (given === undefined) return "missing";
    const hash = digest(given);
    // Digests have one length, which timingSafeEqual needs, and hide the token's.
    if (timingSafeEqual(hash, digest(options.siteToken())))
      return { name: SITE_TOKEN_NAME, role: "admin", scopes: ["*"] };
    const id = TOKEN.exec(given)?.[1];
    if (id === undefined) return "unknown";
    const administrators = options.administrators();
    if (administrators === undefined) return "loading";
    if (administrators !== indexed) {
      index = indexOf(administrators);
      indexed = administrators;
    }
    // The id is no secret: it only says with which hash to compare.
    const found = index.get(id);
    const matches = timingSafeEqual(hash, Buffer.from((found?.token ?? NOBODY).hash, "hex"));
    if (found === undefined || !matches) return "unknown";
    const { administrator, token } = found;
    if (!administrator.enabled) return "disabled";
    if (token.expiresAt !== undefined && Date.parse(token.expiresAt) <= now()) return "expired";
    const { name, role } = administrator;
    const { scopes, expiresAt } = token;
    return { name, role, scopes, tokenId: id, ...(expiresAt === undefined ? {} : { expiresAt }) };
  };
}

/** A new token: `text` is for its holder and shown once, `id` and `hash` are for the store. */
export function newToken(): { readonly id: string; readonly hash: string; readonly text: string } {
  const id = randomBytes(6).toString("hex");
  const text = `lsa_${id}_${randomBytes(32).toString("base64url")}`;
  return { id, hash: digest(text).toString("hex"), text };
}

interface Owned {
  readonly administrator: Administrator;
  readonly token: AdministratorToken;
}

function indexOf(administrators: ReadonlyMap<string, Administrator>): ReadonlyMap<string, Owned> {
  const index = new Map<string, Owned>();
  for (const administrator of administrators.values())
    for (const token of administrator.tokens) index.set(token.id, { administrator, token });
  return index;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
