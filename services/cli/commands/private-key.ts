import { CliError, EXIT } from "../errors.js";

const MAGIC = "openssh-key-v1\0";

/**
 * The public line of a private key in OpenSSH's own form, which holds it in the clear (PROTOCOL.key); undefined for another
 * form. Throws a CliError for a key with a passphrase: nobody could type it when the site connects.
 */
export function publicKeyOf(text: string): string | undefined {
  const match = /-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END OPENSSH PRIVATE KEY-----/.exec(text);
  if (match === null) {
    if (/ENCRYPTED/.test(text)) throw encrypted();
    return undefined;
  }
  const data = Buffer.from(match[1] ?? "", "base64");
  if (data.subarray(0, MAGIC.length).toString("latin1") !== MAGIC) return undefined;
  let at = MAGIC.length;
  const field = (): Buffer => {
    const end = at + 4 + (at + 4 <= data.length ? data.readUInt32BE(at) : 0);
    if (at + 4 > data.length || end > data.length) throw new CliError(EXIT.usage, "the private key is cut short");
    const content = data.subarray(at + 4, end);
    at = end;
    return content;
  };
  if (field().toString() !== "none") throw encrypted();
  field();
  field();
  at += 4;
  const blob = field();
  const type = blob.subarray(4, 4 + (blob.length >= 4 ? blob.readUInt32BE(0) : 0)).toString("latin1");
  return `${type} ${blob.toString("base64")}`;
}

function encrypted(): CliError {
  return new CliError(EXIT.usage, "the private key has a passphrase: take it off a copy with ssh-keygen -p");
}
