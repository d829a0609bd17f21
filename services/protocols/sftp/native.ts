import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/** What an operator does about a missing binding; ssh2's own build fails silently, with exit code 0. */
export const NATIVE_CRYPTO_MEND = "apt-get install -y build-essential python3 && npm rebuild ssh2";

/**
 * Whether ssh2's native ciphers (sshcrypto.node) are in use. Without them everything works at half the speed, and
 * nothing else says so. ssh2 publishes this under no public name; where the file moved, we say "not loaded".
 */
export function nativeCrypto(): boolean {
  try {
    const crypto = require("ssh2/lib/protocol/crypto.js") as { bindingAvailable?: unknown };
    return crypto.bindingAvailable === true;
  } catch {
    return false;
  }
}
