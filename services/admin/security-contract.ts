import type { Security } from "#auth/security.js";
import type { Exchange } from "#cluster/exchange.js";

/** What the routes about bans, lockouts, sessions and transfers need. */
export interface SecurityParts {
  readonly security: Security;
  /** Asks all nodes for what each knows of itself. */
  readonly exchange: Exchange;
}
