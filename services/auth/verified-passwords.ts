import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { monotonicMs } from "#lib/clock.js";

/** Accounts remembered; the one remembered longest ago goes first. */
const MOST = 10_000;

interface Verified {
  readonly digest: Buffer;
  readonly storedHash: string;
  readonly until: number;
}

/**
 * Passwords that were right a moment ago, so that a script that connects each second costs one argon2 check a minute. What is
 * kept is a keyed hash (HMAC-SHA-256) under a key of this process alone, never longer than the setting says, and it counts
 * only for the stored hash that it was verified against: a changed password is asked anew at once.
 */
export class VerifiedPasswords {
  readonly #key = randomBytes(32);
  readonly #byAccount = new Map<string, Verified>();

  isKnown(account: string, storedHash: string, password: Buffer): boolean {
    const verified = this.#byAccount.get(account);
    if (verified === undefined) return false;
    if (verified.until <= monotonicMs() || verified.storedHash !== storedHash) {
      this.#byAccount.delete(account);
      return false;
    }
    return timingSafeEqual(verified.digest, this.#digest(account, password));
  }

  remember(account: string, storedHash: string, password: Buffer, forMs: number): void {
    if (forMs <= 0) return;
    this.#byAccount.delete(account);
    const [oldest] = this.#byAccount.size >= MOST ? this.#byAccount.keys() : [];
    if (oldest !== undefined) this.#byAccount.delete(oldest);
    const digest = this.#digest(account, password);
    this.#byAccount.set(account, { digest, storedHash, until: monotonicMs() + forMs });
  }

  get size(): number {
    return this.#byAccount.size;
  }

  #digest(account: string, password: Buffer): Buffer {
    return createHmac("sha256", this.#key).update(account).update("\0").update(password).digest();
  }
}
