import { createHash, createPublicKey, type JsonWebKey, type KeyObject, timingSafeEqual, verify } from "node:crypto";
import type { Account } from "#config/schema.js";

/** One public key of an account, ready to be compared and to check signatures. */
export interface PublicKey {
  /** `ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256`, ... (RSA keys are `ssh-rsa` whatever hash signs). */
  readonly type: string;
  readonly comment: string;
  /** As OpenSSH prints it: `SHA256:` and unpadded base64. */
  readonly fingerprint: string;
  /** The key's wire form (RFC 4253, section 6.6), base64. */
  readonly blob: string;
  /** SHA-256 of the wire form. */
  readonly digest: Buffer;
  /**
   * Whether `signature` was made over `data` with this key. It comes without SSH's wrapping: DER for ECDSA, the bare bytes
   * otherwise. `hash` chooses RSA's hash (undefined: SHA-1) and counts for no other type.
   */
  verify(data: Buffer, signature: Buffer, hash: string | undefined): boolean;
}

/** Curves by their name on the wire, with the hash that goes with each (RFC 5656, section 6.2.1). */
const CURVES: ReadonlyMap<string, { readonly crv: string; readonly bytes: number; readonly hash: string }> = new Map([
  ["nistp256", { crv: "P-256", bytes: 32, hash: "sha256" }],
  ["nistp384", { crv: "P-384", bytes: 48, hash: "sha384" }],
  ["nistp521", { crv: "P-521", bytes: 66, hash: "sha512" }],
]);
const ED25519_BYTES = 32;
/** What OpenSSH takes at least, too. */
const MIN_RSA_BITS = 1_024;
const MAX_RSA_BITS = 16_384;

/**
 * Reads one OpenSSH public key line. Throws an Error that says what is wrong: options (`from="..."`), a private key, a
 * certificate and hardware-bound types (`sk-...`) are refused, because honouring them only in part would mislead.
 */
export function parsePublicKey(line: string): PublicKey {
  const text = line.trim();
  if (text.includes("PRIVATE KEY")) throw new Error("this is a private key; give the .pub file's line");
  const match = /^((?:ssh-|ecdsa-)\S+)[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t]+(.*))?$/.exec(text);
  if (match === null) {
    throw new Error("a public key line starts with its type, e.g. ssh-ed25519; options before it aren't supported");
  }
  const [, type = "", encoded = "", comment = ""] = match;
  const blob = Buffer.from(encoded, "base64");
  const fields = readFields(blob);
  if (fields?.[0]?.toString("latin1") !== type) throw new Error(`the key isn't the ${type} that its first word says`);
  const { jwk, hash } = describe(type, fields);
  const key = toKey(jwk, type);
  const digest = digestOf(blob);
  return {
    type,
    comment,
    fingerprint: `SHA256:${digest.toString("base64").replace(/=+$/, "")}`,
    blob: blob.toString("base64"),
    digest,
    verify: (data, signature, asked) =>
      type === "ssh-rsa" ? verifyRsa(key, data, signature, asked ?? "sha1") : verifies(key, hash, data, signature),
  };
}

/** SSH's strings and mpints, one after the other (RFC 4251, section 5); undefined where the lengths don't add up. */
function readFields(blob: Buffer): readonly Buffer[] | undefined {
  const fields: Buffer[] = [];
  let at = 0;
  while (at < blob.length) {
    if (blob.length - at < 4) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

/** The key as node:crypto takes it, and the hash that its type fixes (`undefined`: the type's own, or chosen by request). */
function describe(type: string, fields: readonly Buffer[]): { readonly jwk: JsonWebKey; readonly hash?: string } {
  const [, first, second, ...more] = fields;
  const broken = new Error(`a broken ${type} key`);
  if (first === undefined || more.length > 0) throw broken;
  if (type === "ssh-ed25519") {
    if (second !== undefined || first.length !== ED25519_BYTES) throw broken;
    return { jwk: { kty: "OKP", crv: "Ed25519", x: first.toString("base64url") } };
  }
  if (second === undefined) throw broken;
  if (type === "ssh-rsa") return { jwk: { kty: "RSA", e: magnitude(first), n: magnitude(second) } };
  const curve = CURVES.get(first.toString("latin1"));
  if (curve === undefined || type !== `ecdsa-sha2-${first.toString("latin1")}`) {
    throw new Error(`keys of the type ${type} can't be used; use ssh-ed25519, ecdsa-sha2-nistp256 or ssh-rsa`);
  }
  // SEC 1, section 2.3.3: 4 says that both coordinates follow in full.
  if (second.length !== 1 + 2 * curve.bytes || second[0] !== 4) throw broken;
  const x = second.toString("base64url", 1, 1 + curve.bytes);
  const y = second.toString("base64url", 1 + curve.bytes);
  return { jwk: { kty: "EC", crv: curve.crv, x, y }, hash: curve.hash };
}

/** A positive mpint may start with a zero byte; a JWK's number may not. */
function magnitude(mpint: Buffer): string {
  let at = 0;
  while (at < mpint.length && mpint[at] === 0) at++;
  return mpint.toString("base64url", at);
}

function toKey(jwk: JsonWebKey, type: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: "jwk" });
  } catch (error) {
    throw new Error(`a broken ${type} key`, { cause: error });
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS)) {
    throw new Error(`an RSA key of ${bits} bits; ${MIN_RSA_BITS} to ${MAX_RSA_BITS} can be used, 3072 is good`);
  }
  return key;
}

function verifies(key: KeyObject, hash: string | undefined, data: Buffer, signature: Buffer): boolean {
  try {
    return verify(hash, data, key, signature);
  } catch {
    // What OpenSSL can't even read as a signature is a wrong one.
    return false;
  }
}

/** Some old clients leave leading zeros out, so that one signature in 256 is a byte short: filled up, as OpenSSH does. */
function verifyRsa(key: KeyObject, data: Buffer, signature: Buffer, hash: string): boolean {
  const missing = Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8) - signature.length;
  const whole = missing > 0 ? Buffer.concat([Buffer.alloc(missing), signature]) : signature;
  return verifies(key, hash, data, whole);
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
