/** The kinds of user keys that our server can verify. */
const KINDS = new Set(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"]);

/** What is wrong with an OpenSSH public key line, or undefined. A key that can never log in is refused when it's written. */
export function publicKeyFault(line: string): string | undefined {
  const match = /^(\S+) ([A-Za-z0-9+/]+={0,2})(?: [^\n\r\0]*)?$/.exec(line);
  if (match === null)
    return 'must be one OpenSSH public key line, such as "ssh-ed25519 AAAA... comment", without options';
  const [, kind = "", encoded = ""] = match;
  if (!KINDS.has(kind)) return `keys of the kind "${kind}" can't be used; these can: ${[...KINDS].join(", ")}`;
  const blob = Buffer.from(encoded, "base64");
  const length = blob.length >= 4 ? blob.readUInt32BE(0) : 0;
  if (blob.subarray(4, 4 + length).toString("latin1") !== kind || blob.length <= 4 + length) {
    return "the key is cut short or isn't what its first word says";
  }
  return undefined;
}
