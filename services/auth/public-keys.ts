import { createHash, timingSafeEqual } from "node:crypto";
import ssh2, { type ParsedKey } from "ssh2";
import type { Account } from "#config/schema.js";

/** One public key of an account, ready to be compared and to check signatures. */
export interface PublicKey {
  /** `ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256`, ... (RSA keys are `ssh-rsa` whatever hash signs). */
  readonly type: string;
  readonly comment: string;
  /** As OpenSSH prints it: `SHA256:` and unpadded base64. */
  readonly fingerprint: string;
  /** SHA-256 of the key's wire form (RFC 4253, section 6.6). */
  readonly digest: Buffer;
  /** Whether `signature` was made over `data` with this key; `hash` chooses RSA's hash and is undefined otherwise. */
  verify(data: Buffer, signature: Buffer, hash: string | undefined): boolean;
}

/**
 * Reads one OpenSSH public key line. Throws an Error that says what is wrong: options (`from="..."`), a private key, a
 * certificate and hardware-bound types (`sk-...`) are refused, because honouring them only in part would mislead.
 */
export function parsePublicKey(line: string): PublicKey {
  const text = line.trim();
  if (text.includes("PRIVATE KEY")) throw new Error("this is a private key; give the .pub file's line");
  if (!/^(?:ssh-|ecdsa-)\S+\s+\S/.test(text)) {
    throw new Error("a public key line starts with its type, e.g. ssh-ed25519; options before it aren't supported");
  }
  const parsed: ParsedKey | ParsedKey[] | Error = ssh2.utils.parseKey(text);
  if (parsed instanceof Error) throw new Error(`unusable public key: ${parsed.message}`);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined) throw new Error("no key in it");
  const digest = digestOf(key.getPublicSSH());
  return {
    type: key.type,
    comment: key.comment,
    fingerprint: `SHA256:${digest.toString("base64").replace(/=+$/, "")}`,
    digest,
    // ssh2 returns an Error for a signature that it can't even read.
    verify: (data, signature, hash) => key.verify(data, signature, hash) === true,
  };
}

function digestOf(blob: Buffer): Buffer {
  return createHash("sha256").update(blob).digest();
}

/**
 * The parsed keys of accounts. Accounts are frozen and replaced at each change, so an account object is the cache's key:
 * its lines are parsed once, and a changed account starts anew.
 */
export class KeyRing {
  readonly #parsed = new WeakMap<Account, readonly PublicKey[]>();
  readonly #onUnusable: (account: string, reason: string) => void;

  /** `onUnusable` hears once per account object of each line that can't be used; the account's other keys still work. */
  constructor(onUnusable: (account: string, reason: string) => void) {
    this.#onUnusable = onUnusable;
  }

  /**
   * The account's key with this wire form, if it has one. Compares digests, each of them, in constant time: how long it
   * takes doesn't tell which key came close.
   */
  find(account: Account, blob: Buffer): PublicKey | undefined {
    const digest = digestOf(blob);
    let found: PublicKey | undefined;
    for (const key of this.#keysOf(account)) if (timingSafeEqual(key.digest, digest)) found = key;
    return found;
  }

  #keysOf(account: Account): readonly PublicKey[] {
    const known = this.#parsed.get(account);
    if (known !== undefined) return known;
    const keys: PublicKey[] = [];
    for (const [index, line] of account.publicKeys.entries()) {
      try {
        keys.push(parsePublicKey(line));
      } catch (error) {
        this.#onUnusable(account.name, `public key ${index + 1}: ${error instanceof Error ? error.message : error}`);
      }
    }
    this.#parsed.set(account, keys);
    return keys;
  }
}
