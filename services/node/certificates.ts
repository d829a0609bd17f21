import { createHash, X509Certificate } from "node:crypto";
import type { CertificateUse, NodeCertificate } from "#cluster/certificates.js";
import type { EtcdTls } from "#coordination/etcd.js";

/** Each heartbeat carries them. */
const MAX_NAMES_LENGTH = 1_024;

/** Of a PEM file; undefined where it holds no certificate. Pure. */
export function describeCertificate(use: CertificateUse, pem: string): NodeCertificate | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    const [first, ...chain] = blocks.map((block) => new X509Certificate(block));
    if (first === undefined) return undefined;
    const ends = [first, ...chain].map(({ validTo }) => Date.parse(validTo));
    return {
      use,
      fingerprint: createHash("sha256").update(blocks.join("\n")).digest("hex"),
      names: [first.subject, first.subjectAltName ?? ""].join("\n").trim().slice(0, MAX_NAMES_LENGTH),
      notAfter: Math.min(...ends),
    };
  } catch {
    return undefined;
  }
}

/** The certificates that this node works with now: which one the admin port shows, and what etcd is connected to with. */
export function createNodeCertificates(adminPem: () => string | undefined, etcd: () => EtcdTls | undefined) {
  const described = {
    admin: rememberingLast("admin"),
    client: rememberingLast("etcd-client"),
    authority: rememberingLast("etcd-authority"),
  };
  return (): NodeCertificate[] => {
    const tls = etcd();
    const all = [described.admin(adminPem()), described.client(tls?.cert), described.authority(tls?.ca)];
    return all.filter((each) => each !== undefined);
  };
}

/** Asked at each heartbeat, and mostly for the same. */
function rememberingLast(use: CertificateUse) {
  let last: { readonly pem: string | undefined; readonly certificate: NodeCertificate | undefined } | undefined;
  return (pem: string | undefined) => {
    if (last === undefined || last.pem !== pem) {
      last = { pem, certificate: pem === undefined ? undefined : describeCertificate(use, pem) };
    }
    return last.certificate;
  };
}
