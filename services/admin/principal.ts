import { ROLES, type Role } from "#config/entries.js";
import type { Scope } from "#config/scopes.js";

/** Who asks: an administrator by one of his tokens, or the holder of the site's own token. */
export interface Principal {
  /** The administrator's name; `site token` for the token of `adminTokenFile`. */
  readonly name: string;
  readonly role: Role;
  /** Scopes of a later version may be among them: they open nothing here. */
  readonly scopes: readonly string[];
  /** Undefined: the site's own token. */
  readonly tokenId?: string;
  readonly expiresAt?: string;
}

export const SITE_TOKEN_NAME = "site token";

/** What a route asks of its caller. `self`: any valid token. */
export type Access = "open" | "self" | { readonly scope: Scope; readonly role: Role };

/** Why a request is refused; few fixed words, since they label a metric. */
export const ADMIN_REFUSALS = ["missing", "unknown", "expired", "disabled", "role", "scope"] as const;
export type AdminRefusal = (typeof ADMIN_REFUSALS)[number];

/**
 * Undefined: `principal` may use a route of this access. The scope `read` opens each route that a viewer may read, `*`
 * every route; another scope its own routes. The role counts as it is now, whatever it was when the token was made.
 */
export function refusalOf(principal: Principal, access: Access, reads: boolean): "role" | "scope" | undefined {
  if (access === "open" || access === "self") return undefined;
  if (ROLES.indexOf(principal.role) < ROLES.indexOf(access.role)) return "role";
  const { scopes } = principal;
  if (scopes.includes("*") || scopes.includes(access.scope)) return undefined;
  return reads && access.role === "viewer" && scopes.includes("read") ? undefined : "scope";
}
