import { X509Certificate } from "node:crypto";
import { isIPv6 } from "node:net";
import { checkServerIdentity as checkByNode, type PeerCertificate } from "node:tls";

/**
 * Whether a certificate is `host`'s, for TLS clients: Node's own check, but for an IPv6 address OpenSSL's. Node.js 20.19.2 as
 * Debian 13's security updates have it (deb13u3) looks for such an address's form as a domain name, which is empty, and
 * refuses every certificate. Returns the error as `tls.checkServerIdentity` does.
 */
export function checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  if (!isIPv6(host)) return checkByNode(host, certificate);
  if (new X509Certificate(certificate.raw).checkIP(host) !== undefined) return undefined;
  const named = certificate.subjectaltname ?? "nothing";
  // Callers go by the code to say what to do.
  return Object.assign(new Error(`the certificate isn't for ${host}, but for ${named}`), {
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
}
