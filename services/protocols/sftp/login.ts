import type { AuthContext, Connection, KeyboardAuthContext, PublicKeyAuthContext } from "ssh2";
import type { Client, Verdict, Verifier } from "#auth/contract.js";
import type { Credential } from "#config/credential.js";
import type { Account } from "#config/schema.js";
import { asLongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { ConnectionObserver, EndReason, LoginMethod } from "../observer.js";
import { FRESH_LOGIN, type LoginRequest, METHODS, onRequest, onVerdict } from "./login-policy.js";

export interface LoginOptions {
  readonly connection: Connection;
  readonly client: Client;
  readonly verifier: Verifier;
  /** Asked at each request: it may change while somebody types. */
  readonly maxAttempts: () => number;
  readonly logger: Logger;
  readonly observer: ConnectionObserver;
  /** Called once, before the client hears of its success. False: the session was refused, and `end` was called. */
  readonly onAccepted: (account: Account, method: LoginMethod, credential: Credential | undefined) => boolean;
  /** Ends the connection. */
  readonly end: (reason: EndReason, detail: string) => void;
}

/** A name as a stranger typed it: bounded for the log. JSON escapes the rest. */
const LOGGED_NAME_LENGTH = 64;

/**
 * Runs the login of one connection: turns ssh2's requests into the policy's, acts on its decisions. ssh2 hands requests
 * over one at a time, but for one case: a new request aborts a keyboard-interactive one under way (RFC 4252, section 5),
 * whose late verdict then counts for nothing.
 */
export function runLogin(options: LoginOptions): void {
  const { connection, client, verifier, logger, observer } = options;
  let state = FRESH_LOGIN;
  let over = false;
  let current: AuthContext | undefined;

  function finish(reason: EndReason, detail: string): void {
    over = true;
    options.end(reason, detail);
  }

  /** Answers a request. ssh2 throws where an abort left its own queue of requests out of step. */
  function answer(act: () => void): void {
    try {
      act();
    } catch (error) {
      finish("protocol", `login out of step: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** Passes a request by the policy; false where that has answered it. */
  function admitted(context: AuthContext, request: LoginRequest): boolean {
    const decision = onRequest(state, request, options.maxAttempts());
    state = decision.state;
    if (decision.act === "disconnect") finish("login-attempts", decision.reason);
    else if (decision.act === "list-methods") answer(() => context.reject([...METHODS]));
    return decision.act === "proceed";
  }

  async function settle(context: AuthContext, request: LoginRequest, pending: Promise<Verdict>): Promise<void> {
    let verdict: Verdict;
    try {
      verdict = await pending;
    } catch (error) {
      logger.error("a login could not be checked", { error: asLongshoreError(error, "login").message });
      verdict = { accepted: false, reason: "the check failed" };
    }
    if (over || current !== context) return;
    const method = request.kind === "proof" ? request.method : undefined;
    const decision = onVerdict(state, request, verdict, options.maxAttempts());
    if (!verdict.accepted && method !== undefined) {
      const busy = decision.act === "disconnect" && decision.cause === "busy";
      observer.login(busy ? "busy" : "refused", method);
      const account = context.username.slice(0, LOGGED_NAME_LENGTH);
      observer.loginRefused?.({ account, address: client.address, method, reason: verdict.reason });
      logger.info("login refused", { account, method, reason: verdict.reason, attempt: state.attempts });
    }
    switch (decision.act) {
      case "list-methods":
        answer(() => context.reject([...METHODS]));
        return;
      case "ask-for-signature":
        answer(() => askForSignature(context as PublicKeyAuthContext));
        return;
      case "disconnect":
        if (decision.say) answer(() => context.reject([]));
        finish(decision.cause === "busy" ? "login-busy" : "login-attempts", decision.reason);
        return;
      case "accept":
        if (verdict.accepted && method !== undefined) accept(context, verdict, method);
    }
  }

  function accept(context: AuthContext, verdict: Verdict & { accepted: true }, method: LoginMethod): void {
    over = true;
    observer.login("accepted", method);
    if (options.onAccepted(verdict.account, method, verdict.credential)) answer(() => context.accept());
  }

  function checkPassword(context: AuthContext, password: string, method: LoginMethod): void {
    const request: LoginRequest = { kind: "proof", method };
    if (!admitted(context, request)) return;
    void settle(context, request, verifier.password(context.username, Buffer.from(password, "utf8"), client));
  }

  function checkKey(context: PublicKeyAuthContext): void {
    const { signature, blob: signed, hashAlgo } = context;
    const proof = signature !== undefined && signed !== undefined;
    const request: LoginRequest = proof ? { kind: "proof", method: "publickey" } : { kind: "query" };
    if (!admitted(context, request)) return;
    const key = {
      algorithm: context.key.algo,
      blob: context.key.data,
      ...(proof ? { signature, signed } : {}),
      ...(hashAlgo === undefined ? {} : { hashAlgorithm: hashAlgo }),
    };
    void settle(context, request, verifier.publicKey(context.username, key, client));
  }

  /** For clients that try nothing but keyboard-interactive: one prompt, whose answer is the password. */
  function askForPassword(context: KeyboardAuthContext): void {
    if (!admitted(context, { kind: "prompt" })) return;
    answer(() =>
      // The callback gets an Error instead of the list where the request was aborted.
      context.prompt([{ prompt: "Password: ", echo: false }], (answers: unknown) => {
        if (over || current !== context || !Array.isArray(answers)) return;
        const [password] = answers as unknown[];
        if (answers.length === 1 && typeof password === "string") {
          checkPassword(context, password, "keyboard-interactive");
        } else admitted(context, { kind: "unsupported" });
      }),
    );
  }

  connection.on("authentication", (context) => {
    if (over) return;
    current = context;
    switch (context.method) {
      case "password":
        // A password change arrives as an object under the same name.
        if (typeof context.password === "string") checkPassword(context, context.password, "password");
        else admitted(context, { kind: "unsupported" });
        return;
      case "publickey":
        checkKey(context);
        return;
      case "keyboard-interactive":
        askForPassword(context);
        return;
      default:
        admitted(context, { kind: context.method === "none" ? "none" : "unsupported" });
    }
  });
}

/**
 * PK_OK repeats "the public key algorithm name from the request" (RFC 4252, section 7), but ssh2 has replaced RFC 8332's
 * rsa-sha2-* by the key's type: put it back before ssh2 answers.
 */
function askForSignature(context: PublicKeyAuthContext): void {
  const { hashAlgo, key } = context;
  if (key.algo === "ssh-rsa" && hashAlgo !== undefined) {
    context.key = { algo: `rsa-sha2-${hashAlgo === "sha512" ? "512" : "256"}`, data: key.data };
  }
  context.accept();
}
