import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { LongshoreError } from "./errors.js";

/**
 * Secrets at rest in the store: AES-256-GCM in an envelope that names its key, `ls1:<key id>:<base64url of iv, tag,
 * ciphertext>`. The context (the store key that the envelope lies under) is authenticated too, so that nobody who can
 * write to the store can move a secret to another place.
 */
export interface SealKey {
  /** 8 hex digits, derived from the key: tells keys apart and gives nothing away. */
  readonly id: string;
  readonly bytes: Buffer;
}

/** The first key seals; all of them open: that is how a key is replaced without a moment when something can't be read. */
export type KeyRing = readonly [SealKey, ...SealKey[]];

/** `reason` tells a wrong key (give this node the right one) from a damaged or displaced envelope. */
export class SealError extends LongshoreError {
  readonly reason: "no-such-key" | "malformed" | "tampered";

  constructor(reason: SealError["reason"], message: string, cause?: unknown) {
    super("io", message, cause);
    this.name = "SealError";
    this.reason = reason;
  }
}

const VERSION = "ls1";
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Reads a key file: one base64 key of 32 bytes a line, the one that seals first. Throws Error with what is wrong. */
export function readKeyRing(text: string): KeyRing {
  const lines = text.split("\n").map((line) => line.trim());
  const parsed = lines.filter((line) => line !== "").map(parseKey);
  const [first, ...rest] = parsed;
  if (first === undefined) throw new Error("holds no key; make one with: openssl rand -base64 32");
  return [first, ...rest];
}

export function sealKey(bytes: Buffer): SealKey {
  if (bytes.length !== KEY_BYTES) throw new Error(`a key has ${KEY_BYTES} bytes, not ${bytes.length}`);
  const id = createHash("sha256").update("longshore key id\0").update(bytes).digest("hex").slice(0, 8);
  return { id, bytes };
}

export function seal(plaintext: Buffer | string, key: SealKey | KeyRing, context: string): string {
  const with_ = isRing(key) ? key[0] : key;
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", with_.bytes, iv, { authTagLength: TAG_BYTES });
  cipher.setAAD(additionalData(with_.id, context));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return `${VERSION}:${with_.id}:${Buffer.concat([iv, cipher.getAuthTag(), ciphertext]).toString("base64url")}`;
}

/** Throws SealError. */
export function open(envelope: string, key: SealKey | KeyRing, context: string): Buffer {
  const match = /^ls1:([0-9a-f]{8}):([A-Za-z0-9_-]+)$/.exec(envelope);
  const packed = Buffer.from(match?.[2] ?? "", "base64url");
  if (match === null || packed.length < IV_BYTES + TAG_BYTES) {
    throw new SealError("malformed", "not a sealed value");
  }
  const id = match[1] ?? "";
  const ring = isRing(key) ? key : [key];
  const with_ = ring.find((candidate) => candidate.id === id);
  if (with_ === undefined) {
    const held = ring.map((candidate) => candidate.id).join(", ");
    throw new SealError("no-such-key", `sealed with the key ${id}; this node has ${held}`);
  }
  const decipher = createDecipheriv("aes-256-gcm", with_.bytes, packed.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(additionalData(id, context));
  decipher.setAuthTag(packed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(packed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw new SealError("tampered", "the sealed value was changed, or belongs elsewhere", error);
  }
}

function parseKey(line: string): SealKey {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(line))
    throw new Error("a key isn't base64; make one with: openssl rand -base64 32");
  return sealKey(Buffer.from(line, "base64"));
}

function additionalData(id: string, context: string): Buffer {
  return Buffer.from(`${VERSION}\0${id}\0${context}`);
}

function isRing(key: SealKey | KeyRing): key is KeyRing {
  return Array.isArray(key);
}
