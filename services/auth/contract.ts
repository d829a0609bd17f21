import type { Credential } from "#config/credential.js";
import type { Account } from "#config/schema.js";

/** Where an attempt comes from: the client's own address (P9) and the protocol. */
export interface Client {
  readonly address: string;
  readonly protocol: "sftp";
}

/** `reason` is for the log and the audit; a client only ever hears "permission denied". */
export type Verdict =
  | {
      readonly accepted: true;
      readonly account: Account;
      readonly method: "password" | "publickey";
      /** What the login goes by: once the account loses it, the session ends. */
      readonly credential?: Credential;
    }
  | { readonly accepted: false; readonly reason: string };

export interface PasswordOptions {
  /**
   * Hashes in any case, also a password that was right a moment ago: where the verdict isn't told, its time must not tell
   * it. Default false.
   */
  readonly evenTime?: boolean;
}

/** Verifies credentials against the configuration in force. Never throws for a wrong credential. */
export interface Verifier {
  /** argon2id, off the main thread; an unknown account costs the same time as a known one. */
  password(account: string, password: Buffer, client: Client, options?: PasswordOptions): Promise<Verdict>;
  /**
   * Whether this key may log in as `account`. Proof of possession is the protocol's own step: with `signature` it is
   * checked here over `signed`; without one it is a mere query, and acceptance means "go on, sign".
   */
  publicKey(
    account: string,
    key: { algorithm: string; blob: Buffer; signature?: Buffer; signed?: Buffer; hashAlgorithm?: string },
    client: Client,
  ): Promise<Verdict>;
}
