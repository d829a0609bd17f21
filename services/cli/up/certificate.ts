import { readFileSync } from "node:fs";
import { ensureAuthority, ensureLeaf } from "../container/certificates.js";
import { makePrivateDirectory, readIfThere, writeAtomically } from "../files.js";
import type { SiteLayout } from "../layout.js";
import { MAX_NODES } from "./options.js";

/** Every node that the site may ever have, so that a later `--nodes` makes no new certificate. */
const NAMES = [
  "DNS:localhost",
  "IP:127.0.0.1",
  ...Array.from({ length: MAX_NODES }, (_, index) => `DNS:node-${index + 1}`),
];

/**
 * The certificate of all admin ports of a site of `longshore up`, made where there is none or where it is about to end.
 * Returns the authority's certificate (PEM), by which clients know it.
 */
export function ensureAdminCertificate({ tls }: SiteLayout): string {
  makePrivateDirectory(tls.directory);
  ensureAuthority(tls.authority, "Longshore admin");
  ensureLeaf(tls.admin, tls.authority, { name: "longshore-admin", for: NAMES, server: true });
  const both = readFileSync(tls.admin.certificate, "utf8") + readFileSync(tls.admin.key, "utf8");
  if (readIfThere(tls.balancer) !== both) writeAtomically(tls.balancer, both);
  return readFileSync(tls.authority.certificate, "utf8");
}
