/**
 * The SSH identification string (RFC 4253, section 4.2), read here and not by ssh2: ssh2 1.17 loses the middle of one that
 * comes in three or more pieces, and keeps an encryption context for strangers that never send one.
 */

/** RFC 4253, section 4.2: at most 255 characters, CR and LF included. */
const MAX_IDENTIFICATION = 255;
const START = Buffer.from("SSH-");

export type IdentificationResult =
  | { readonly state: "more" }
  | { readonly state: "done" }
  | { readonly state: "refused"; readonly reason: string };

/** Judges a connection's first bytes. Once the answer isn't "more", more bytes don't change it. */
export function judgeIdentification(bytes: Buffer): IdentificationResult {
  const most = Math.min(bytes.length, START.length);
  if (bytes.compare(START, 0, most, 0, most) !== 0) {
    return { state: "refused", reason: "it sent no SSH identification but something else" };
  }
  const end = bytes.subarray(0, MAX_IDENTIFICATION).indexOf(0x0a);
  if (end === -1) {
    if (bytes.length < MAX_IDENTIFICATION) return { state: "more" };
    return { state: "refused", reason: `its SSH identification is longer than ${MAX_IDENTIFICATION} bytes` };
  }
  const line = bytes.toString("latin1", 0, end).replace(/\r$/, "");
  // "1.99" is how servers and clients of the transition said that they speak 2.0 too (section 5.1). A CR inside the
  // line would make ssh2 throw, a NUL is forbidden.
  if (!/^SSH-(?:2\.0|1\.99)-[^\s\0][^\r\0]*$/.test(line)) {
    return { state: "refused", reason: "its SSH identification is none of SSH 2.0" };
  }
  return { state: "done" };
}
