/**
 * What the protocol layer tells the metrics; app.ts implements it with prom-client. Every call is one increment, made on
 * the way of a connection and never on that of a packet. Labels come from these closed sets only: an address or an account
 * name as a label would let a stranger fill the metrics' memory.
 */

/** Why a connection was turned away before its protocol saw it. */
export const REFUSAL_REASONS = [
  /** `balancers` is set and the peer is none of them. */
  "untrusted",
  /** The PROXY header is missing, malformed, or names no client address. */
  "proxy-header",
  /** The PROXY header didn't arrive in time. */
  "proxy-deadline",
  "limit-total",
  "limit-address",
  /** The address is banned. */
  "banned",
  /** The site's address rules don't let it in. */
  "denied",
  /** The node drains or stops. */
  "draining",
  /** Another node is the active one (mode active-passive). */
  "passive",
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

/** Why an accepted connection ended, coarse enough for a label. */
export const END_REASONS = [
  /** The client said goodbye, or closed the connection. */
  "client",
  /** The network took it: reset, timed out. */
  "lost",
  /** It never spoke SSH: garbage, or an identification that is too long. */
  "not-ssh",
  /** No common algorithm, a failed key exchange. */
  "handshake",
  "login-grace",
  "login-attempts",
  /** The password check's queue is full: a passing state, unlike a wrong credential. */
  "login-busy",
  /** The login was right but no session could be opened (a limit, a cut-off node). */
  "session-refused",
  "idle",
  "keepalive",
  /** The client broke the protocol, flooded, or never finished a key exchange. */
  "protocol",
  /** The address was banned. */
  "banned",
  /** The account, the credential or the address that the session went by is no longer good. */
  "revoked",
  /** An administrator ended the session. */
  "killed",
  /** This server ended it: shutdown. */
  "server",
] as const;
export type EndReason = (typeof END_REASONS)[number];

export type LoginMethod = "password" | "publickey" | "keyboard-interactive";

export interface RecordedLogin {
  readonly account: string;
  readonly address: string;
  readonly method: LoginMethod;
}

export interface RecordedLogout {
  readonly account: string;
  readonly address: string;
  readonly session: string;
  readonly reason: EndReason;
  readonly detail: string;
  readonly seconds: number;
  /** Of the connection, SSH's own bytes included. */
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface ConnectionObserver {
  connectionOpened(): void;
  connectionRefused(reason: RefusalReason): void;
  connectionClosed(reason: EndReason): void;
  /** For the record, where metrics keep no names. `account` of a refused login is what a stranger typed, bounded. */
  loggedIn?(login: RecordedLogin & { readonly session: string }): void;
  loginRefused?(login: RecordedLogin & { readonly reason: string }): void;
  loggedOut?(login: RecordedLogout): void;
  /** One attempt with a credential; queries for a key and `none` don't count. */
  login(outcome: "accepted" | "refused" | "busy", method: LoginMethod): void;
}
