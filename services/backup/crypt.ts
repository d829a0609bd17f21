import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scryptSync } from "node:crypto";
import { z } from "zod";
import { BackupError } from "./errors.js";

/**
 * The encrypted file: a line `longshore-backup 1`, a line of JSON that says how the key is made, then the content in
 * chunks of 64 KiB, each AES-256-GCM with its tag behind it. The nonce of a chunk is its number and whether it is the last
 * one (the STREAM construction), so that chunks can't be changed, moved, repeated, left out, or cut off at the end. The
 * two lines go into the key's derivation: who changes them gets another key.
 */
export type BackupKey =
  | { readonly kind: "key"; readonly bytes: Buffer }
  | { readonly kind: "passphrase"; readonly text: string };

const MAGIC = "longshore-backup 1\n";
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
/** No header of ours comes near it. */
const MAX_HEADER_BYTES = 1_024;
const MIN_PASSPHRASE = 12;
/** 128 MiB of memory and about half a second: OWASP's first choice for scrypt. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1 } as const;
const SCRYPT_MEMORY = 256 * 1024 * 1024;

const base64 = z.string().regex(/^[A-Za-z0-9+/]{22,}={0,2}$/);
const headerSchema = z.discriminatedUnion("key", [
  z.strictObject({ key: z.literal("file"), salt: base64 }),
  z.strictObject({
    key: z.literal("scrypt"),
    salt: base64,
    // Bounded, so that a file from a stranger can't ask for all memory there is.
    N: z.literal(SCRYPT.N),
    r: z.literal(SCRYPT.r),
    p: z.literal(SCRYPT.p),
  }),
]);
type Header = z.infer<typeof headerSchema>;

/**
 * A key file's content: 32 bytes, as they are or as one line of base64, or else a passphrase of at least 12 characters on
 * one line. Throws `BackupError`.
 */
export function readBackupKey(content: Buffer): BackupKey {
  if (content.length === KEY_BYTES) return { kind: "key", bytes: content };
  const text = content.toString("utf8").replace(/\r?\n$/, "");
  if (/^[A-Za-z0-9+/]{43}=$/.test(text)) return { kind: "key", bytes: Buffer.from(text, "base64") };
  if (/[\n\r\0]/.test(text) || text.length < MIN_PASSPHRASE) {
    throw new BackupError(
      "the key file must hold 32 bytes (make one with: openssl rand -base64 32) or one line with a passphrase of at " +
        `least ${MIN_PASSPHRASE} characters`,
    );
  }
  return { kind: "passphrase", text };
}

/** The encrypted file, whole. */
export function encrypt(content: Buffer, key: BackupKey): Buffer {
  const salt = randomBytes(32).toString("base64");
  const header: Header = key.kind === "key" ? { key: "file", salt } : { key: "scrypt", salt, ...SCRYPT };
  const head = Buffer.from(`${MAGIC}${JSON.stringify(header)}\n`);
  const secret = secretOf(key, header, head);
  const out: Buffer[] = [head];
  // An empty content has one chunk, too: something must say that there is no more.
  const chunks = Math.max(1, Math.ceil(content.length / CHUNK_BYTES));
  for (let number = 0; number < chunks; number++) {
    const iv = nonceOf(number, number === chunks - 1);
    const cipher = createCipheriv("aes-256-gcm", secret, iv, { authTagLength: TAG_BYTES });
    const plain = content.subarray(number * CHUNK_BYTES, (number + 1) * CHUNK_BYTES);
    out.push(cipher.update(plain), cipher.final(), cipher.getAuthTag());
  }
  return Buffer.concat(out);
}

/** The content, if every byte of the file is as it was written. Throws `BackupError`. */
export function decrypt(file: Buffer, key: BackupKey): Buffer {
  const { header, head } = readHeader(file);
  const wanted = header.key === "file" ? "key" : "passphrase";
  if (key.kind !== wanted) {
    const was = header.key === "file" ? "a key of 32 bytes" : "a passphrase";
    throw new BackupError(`this backup was encrypted with ${was}, and the key file holds something else`);
  }
  const secret = secretOf(key, header, head);
  const body = file.subarray(head.length);
  const stride = CHUNK_BYTES + TAG_BYTES;
  const chunks = Math.max(1, Math.ceil(body.length / stride));
  const out: Buffer[] = [];
  for (let number = 0; number < chunks; number++) {
    const sealed = body.subarray(number * stride, (number + 1) * stride);
    if (sealed.length < TAG_BYTES) throw damaged(number);
    const iv = nonceOf(number, number === chunks - 1);
    const decipher = createDecipheriv("aes-256-gcm", secret, iv, { authTagLength: TAG_BYTES });
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    try {
      out.push(decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)), decipher.final());
    } catch (error) {
      throw damaged(number, error);
    }
  }
  return Buffer.concat(out);
}

function damaged(chunk: number, cause?: unknown): BackupError {
  const where = chunk === 0 ? "the key is another one, or the backup is damaged" : "the backup is damaged or cut short";
  return new BackupError(`${where}; nothing was touched`, cause);
}

function readHeader(file: Buffer): { header: Header; head: Buffer } {
  if (!file.subarray(0, MAGIC.length).equals(Buffer.from(MAGIC))) {
    throw new BackupError("it isn't a backup of Longshore, or it is one of another version");
  }
  const end = file.subarray(0, MAX_HEADER_BYTES).indexOf("\n", MAGIC.length);
  try {
    if (end < 0) throw new Error("it has no end");
    const header = headerSchema.parse(JSON.parse(file.subarray(MAGIC.length, end).toString("utf8")));
    return { header, head: file.subarray(0, end + 1) };
  } catch (error) {
    throw new BackupError("the backup's header is damaged", error);
  }
}

function secretOf(key: BackupKey, header: Header, head: Buffer): Buffer {
  const salt = Buffer.from(header.salt, "base64");
  const material =
    key.kind === "key"
      ? key.bytes
      : scryptSync(key.text.normalize("NFC"), salt, KEY_BYTES, { ...SCRYPT, maxmem: SCRYPT_MEMORY });
  return Buffer.from(hkdfSync("sha256", material, salt, head, KEY_BYTES));
}

/** 12 bytes: the chunk's number, and 1 for the last one. */
function nonceOf(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 5, 6);
  nonce.writeUInt8(last ? 1 : 0, 11);
  return nonce;
}
