import { generateKeyPair, type KeyObject, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { z } from "zod";
import { keys } from "#coordination/keys.js";
import { type KeyRing, open, seal } from "#lib/seal.js";

/**
 * The cluster's SSH identity: one set of host keys for all nodes, so that a partner sees one server whatever node
 * answers. Each lies sealed under `config/keys/<id>`, in a form that ssh2 reads: OpenSSH for Ed25519 (which has no PEM
 * form in ssh2), PEM for the others.
 */
export const HOST_KEY_KINDS = ["ed25519", "ecdsa-p256", "rsa-3072"] as const;
export type HostKeyKind = (typeof HOST_KEY_KINDS)[number];

/** Ids of these entries start so; other secrets share the prefix `config/keys/`. */
export const HOST_KEY_PREFIX = `${keys.secretPrefix}hostkey-`;

export const hostKeyEntrySchema = z.strictObject({
  kind: z.literal("ssh-host-key"),
  algorithm: z.string(),
  sealed: z.string(),
});

export function hostKeyPath(kind: HostKeyKind): string {
  return `${HOST_KEY_PREFIX}${kind}`;
}

export function sealHostKey(kind: HostKeyKind, privateKey: string, ring: KeyRing): string {
  const entry = { kind: "ssh-host-key", algorithm: kind, sealed: seal(privateKey, ring, hostKeyPath(kind)) };
  return JSON.stringify(entry);
}

/** The private key of an entry at `path`. Throws ZodError, SyntaxError or SealError. */
export function openHostKey(path: string, value: string, ring: KeyRing): string {
  const entry = hostKeyEntrySchema.parse(JSON.parse(value));
  return open(entry.sealed, ring, path).toString("utf8");
}

const generate = promisify(generateKeyPair) as unknown as (
  type: string,
  options: object,
) => Promise<{ privateKey: KeyObject; publicKey: KeyObject }>;

/** Off the main thread: RSA takes up to seconds on a busy machine, and the node answers its health check meanwhile. */
export async function generateHostKey(kind: HostKeyKind): Promise<string> {
  switch (kind) {
    case "ed25519":
      return openSshEd25519((await generate("ed25519", {})).privateKey);
    case "ecdsa-p256": {
      const { privateKey } = await generate("ec", { namedCurve: "prime256v1" });
      return privateKey.export({ type: "sec1", format: "pem" }).toString();
    }
    case "rsa-3072": {
      const { privateKey } = await generate("rsa", { modulusLength: 3072 });
      return privateKey.export({ type: "pkcs1", format: "pem" }).toString();
    }
  }
}

/** OpenSSH's own container (PROTOCOL.key), unencrypted: the only form in which ssh2 reads an Ed25519 private key. */
function openSshEd25519(key: KeyObject): string {
  const jwk = key.export({ format: "jwk" });
  const publicKey = Buffer.from(jwk.x ?? "", "base64url");
  const privateKey = Buffer.from(jwk.d ?? "", "base64url");
  const publicBlob = Buffer.concat([field("ssh-ed25519"), field(publicKey)]);
  const check = randomBytes(4);
  let secret = Buffer.concat([
    check,
    check,
    field("ssh-ed25519"),
    field(publicKey),
    field(Buffer.concat([privateKey, publicKey])),
    field("longshore"),
  ]);
  // Padded with 1, 2, 3, ... to the cipher's block size, which is 8 for "none".
  const padding = (8 - (secret.length % 8)) % 8;
  secret = Buffer.concat([secret, Buffer.from(Array.from({ length: padding }, (_, i) => i + 1))]);
  const one = Buffer.alloc(4);
  one.writeUInt32BE(1);
  const container = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    one,
    field(publicBlob),
    field(secret),
  ]);
  const lines = container.toString("base64").match(/.{1,70}/g) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join("\n")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

/** SSH's `string`: length, then bytes (RFC 4251, section 5). */
function field(content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
