/** What the protection against guessing tells the metrics. Labels come from these closed sets only. */
export const LOGIN_REFUSALS = [
  /** A wrong password or key, an unknown or disabled account. */
  "credential",
  /** The password is locked for addresses that never logged in. */
  "locked-out",
  "banned",
  /** None of the account's `allowedAddresses`. */
  "address",
  /** Too many checks at once. */
  "busy",
] as const;
export type LoginRefusal = (typeof LOGIN_REFUSALS)[number];

export interface SecurityObserver {
  loginRefused(reason: LoginRefusal): void;
  /** A check waited first. */
  loginThrottled(): void;
  /** This node decided on a ban of an address or network, or on a lockout of an account. */
  imposed(what: "ban" | "lockout", subject: string, measure: Readonly<Record<string, unknown>>): void;
  /** This node's counters were written to the store. */
  countersFlushed(bytes: number): void;
}
