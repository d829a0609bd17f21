/** SSH's `string` (RFC 4251, section 5): a length of four bytes, then as many bytes. */
export function writeField(value: string | Buffer): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** The `string` at `offset` and where it ends; undefined where it isn't whole. */
export function readField(from: Buffer, offset: number): { value: Buffer; end: number } | undefined {
  if (from.length < offset + 4) return undefined;
  const end = offset + 4 + from.readUInt32BE(offset);
  return end > from.length ? undefined : { value: from.subarray(offset + 4, end), end };
}

/** The first `string` of a public key names its kind (RFC 4253, section 6.6). */
export function kindOfKey(blob: Buffer): string {
  return readField(blob, 0)?.value.toString("latin1") ?? "";
}

/** The public key inside an unencrypted OpenSSH private key file (OpenSSH's PROTOCOL.key). */
export function publicKeyOf(privateKey: string): Buffer {
  const container = Buffer.from(privateKey.replace(/-----[^-]+-----|\s/g, ""), "base64");
  // The magic word, then the cipher, the key derivation and its options, and the number of keys.
  let offset = "openssh-key-v1\0".length;
  for (let skipped = 0; skipped < 3; skipped++) offset = readField(container, offset)?.end ?? container.length;
  const key = readField(container, offset + 4)?.value;
  if (key === undefined) throw new TypeError("not an OpenSSH private key");
  return key;
}
