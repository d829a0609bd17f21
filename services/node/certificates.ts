import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { CertificateUse, NodeCertificate } from "#cluster/certificates.js";
import type { NodeSettings } from "./settings.js";

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

/**
 * The certificates that this node works with now. `adminPem` says which one the admin port shows; those for etcd are the
 * files as they were at the start, since that is what connections are made with until the next one.
 */
export function createNodeCertificates(settings: NodeSettings, adminPem: () => string | undefined) {
  const { coordination } = settings;
  const tls = coordination.kind === "etcd" ? coordination.tls : undefined;
  const ofEtcd = [
    tls && describeCertificate("etcd-client", readOrNothing(tls.certificateFile)),
    tls && describeCertificate("etcd-authority", readOrNothing(tls.caFile)),
  ].filter((each) => each !== undefined);
  let admin: { readonly pem: string; readonly certificate: NodeCertificate | undefined } | undefined;
  return (): NodeCertificate[] => {
    const pem = adminPem();
    if (pem !== admin?.pem) {
      admin = pem === undefined ? undefined : { pem, certificate: describeCertificate("admin", pem) };
    }
    return [...(admin?.certificate === undefined ? [] : [admin.certificate]), ...ofEtcd];
  };
}

/** What can't be read has been complained about where it is used. */
function readOrNothing(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
