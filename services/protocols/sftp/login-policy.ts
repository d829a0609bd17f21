import type { Verdict } from "#auth/contract.js";
import { BUSY } from "#auth/verifier.js";
import type { LoginMethod } from "../observer.js";

/**
 * What to do about each step of a login, decided purely (RFC 4252). login.ts acts on it.
 *
 * Invariants: every check of a credential is counted before it starts, so that pipelined or aborted attempts can't get
 * checks for free; and everything that a client asks for is counted, so that no login goes on for ever.
 */

/** The methods told to every client for every account name, known or not. */
export const METHODS = ["publickey", "password", "keyboard-interactive"] as const;

/**
 * Requests beyond the attempts: `none`, and queries for keys. A client with an agent asks for each of its keys before it
 * tries a password, so these don't count as attempts, as they do with OpenSSH; but somewhere it must end.
 */
export const EXTRA_REQUESTS = 40;

export type LoginRequest =
  | { readonly kind: "none" }
  /** "Would you take this key?", without a proof. */
  | { readonly kind: "query" }
  /** keyboard-interactive, before its answer; the answer is a proof. */
  | { readonly kind: "prompt" }
  | { readonly kind: "proof"; readonly method: LoginMethod }
  /** hostbased, a password change: never offered. */
  | { readonly kind: "unsupported" };

export interface LoginState {
  /** Credentials checked. */
  readonly attempts: number;
  /** Requests of every kind. */
  readonly requests: number;
}

export const FRESH_LOGIN: LoginState = { attempts: 0, requests: 0 };

export type RequestDecision =
  /** Check the credential or the key, or show the prompt. */
  | { readonly act: "proceed"; readonly state: LoginState }
  /** Answer with the list of methods. */
  | { readonly act: "list-methods"; readonly state: LoginState }
  | { readonly act: "disconnect"; readonly state: LoginState; readonly reason: string };

/** What to do about a request. `maxAttempts`: credentials that may be checked on one connection. */
export function onRequest(before: LoginState, request: LoginRequest, maxAttempts: number): RequestDecision {
  const proof = request.kind === "proof";
  const state = { attempts: before.attempts + (proof ? 1 : 0), requests: before.requests + 1 };
  if (state.requests > maxAttempts + EXTRA_REQUESTS) {
    return { act: "disconnect", state, reason: `more than ${maxAttempts + EXTRA_REQUESTS} login requests` };
  }
  if (state.attempts > maxAttempts) {
    return { act: "disconnect", state, reason: `more than ${maxAttempts} login attempts` };
  }
  const offered = request.kind !== "none" && request.kind !== "unsupported";
  return { act: offered ? "proceed" : "list-methods", state };
}

export type VerdictDecision =
  | { readonly act: "accept" }
  /** The key would do: "go on, sign". */
  | { readonly act: "ask-for-signature" }
  | { readonly act: "list-methods" }
  /** `say`: tell the client that no method is left, before the end. */
  | { readonly act: "disconnect"; readonly cause: "attempts" | "busy"; readonly say: boolean; readonly reason: string };

/** What to do about the verifier's answer to a query or a proof. */
export function onVerdict(
  state: LoginState,
  request: LoginRequest,
  verdict: Verdict,
  maxAttempts: number,
): VerdictDecision {
  if (verdict.accepted) return { act: request.kind === "query" ? "ask-for-signature" : "accept" };
  if (verdict.reason === BUSY) {
    // "Permission denied" would be a lie that scripts take for final; a lost connection is tried again.
    return { act: "disconnect", cause: "busy", say: false, reason: verdict.reason };
  }
  if (request.kind === "proof" && state.attempts >= maxAttempts) {
    return { act: "disconnect", cause: "attempts", say: true, reason: `${state.attempts} failed login attempts` };
  }
  return { act: "list-methods" };
}
