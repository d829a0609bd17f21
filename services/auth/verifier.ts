import type { ConfigView } from "#config/contract.js";
import { effectiveAccount } from "#config/effective.js";
import type { Account } from "#config/schema.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { Verdict, Verifier } from "./contract.js";
import { lifeFault } from "./life.js";
import { verifyPassword } from "./passwords.js";
import { KeyRing } from "./public-keys.js";
import { VerifiedPasswords } from "./verified-passwords.js";

export interface VerifierOptions {
  readonly config: ConfigView;
  /** The site's time, in milliseconds since 1970. Default: this host's clock. */
  readonly now?: () => number;
  /** Hears of keys in the configuration that can't be used, and of why passwords can't be checked. */
  readonly logger?: Logger;
}

/**
 * The `reason` of a verdict that says nothing about the credential: too many checks wait. A protocol should end the
 * connection rather than answer "permission denied", which clients take for final.
 */
export const BUSY = "too many logins at once";

const SAID_AGAIN_MS = 3_600_000;
const MOST_CAUSES = 100;

function refused(reason: string): Verdict {
  return { accepted: false, reason };
}

/** Says each cause once an hour: logins may come by the hundreds. */
function faultLog(logger: Logger | undefined): (error: unknown) => void {
  const said = new Map<string, number>();
  return (error) => {
    const cause = String((error instanceof Error ? error.cause : undefined) ?? error);
    const now = monotonicMs();
    if (now - (said.get(cause) ?? Number.NEGATIVE_INFINITY) < SAID_AGAIN_MS) return;
    if (said.size >= MOST_CAUSES) said.clear();
    said.set(cause, now);
    logger?.error("passwords can't be checked: their thread can't begin, or ended", { cause });
  };
}

/**
 * Verifies against the newest snapshot. What is asked after the (slow) password check is asked of the newest snapshot
 * again: an account disabled meanwhile is not let in.
 */
export function createVerifier({ config, now = Date.now, logger }: VerifierOptions): Verifier {
  const keys = new KeyRing((account, reason) => logger?.warn("unusable public key in an account", { account, reason }));

  const verified = new VerifiedPasswords();
  const faults = faultLog(logger);

  const accountOf = (name: string): Account | undefined => effectiveAccount(config.snapshot(), name);

  return {
    async password(name, password, _client, { evenTime = false } = {}) {
      // The check runs for every name, so that its time tells neither unknown, disabled nor key-only accounts apart.
      const storedHash = accountOf(name)?.passwordHash;
      const recent = !evenTime && storedHash !== undefined && verified.isKnown(name, storedHash, password);
      const match = recent ? "match" : await verifyPassword(storedHash, password, faults);
      if (match === "busy") return refused(BUSY);
      const account = accountOf(name);
      if (account === undefined) return refused("unknown account");
      if (!account.enabled) return refused("account disabled");
      const over = lifeFault(account, config.snapshot().site, "password", now());
      if (over !== undefined) return refused(over);
      if (account.passwordHash === undefined) return refused("the account has no password");
      if (match === "unusable") return refused("the account's password hash is unusable; set the password again");
      if (account.passwordHash !== storedHash) return refused("the password was changed during the check");
      if (match !== "match") return refused("wrong password");
      const forMs = config.snapshot().site.security.passwordCacheSeconds * 1_000;
      if (!recent) verified.remember(name, storedHash, password, forMs);
      return { accepted: true, account, method: "password", credential: { kind: "password", hash: storedHash } };
    },

    async publicKey(name, { algorithm, blob, signature, signed, hashAlgorithm }) {
      const account = accountOf(name);
      if (account === undefined) return refused("unknown account");
      if (!account.enabled) return refused("account disabled");
      const over = lifeFault(account, config.snapshot().site, "publickey", now());
      if (over !== undefined) return refused(over);
      const key = keys.find(account, blob);
      if (key === undefined) return refused("the key is none of the account's");
      // RFC 8332, section 3: RSA's signature algorithms share one key type, so only the type can be compared.
      if (key.type !== algorithm) return refused(`the key is ${key.type}, not ${algorithm}`);
      if (key.type === "ssh-rsa" && hashAlgorithm === undefined && !config.snapshot().site.sftp.legacyAlgorithms) {
        return refused("RSA with SHA-1 (ssh-rsa); use rsa-sha2-256, or allow sftp.legacyAlgorithms");
      }
      if (signature === undefined) return { accepted: true, account, method: "publickey" };
      if (signed === undefined || !key.verify(signed, signature, hashAlgorithm)) return refused("wrong signature");
      return { accepted: true, account, method: "publickey", credential: { kind: "public-key", blob: key.blob } };
    },
  };
}
