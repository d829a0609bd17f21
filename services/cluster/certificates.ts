import { z } from "zod";

/**
 * What a node has certificates for. `admin`: its admin port. `etcd-client`: what it shows to etcd. `etcd-authority`: what
 * it knows etcd by.
 */
export const CERTIFICATE_USES = ["admin", "etcd-client", "etcd-authority"] as const;
export type CertificateUse = (typeof CERTIFICATE_USES)[number];

/** One certificate file in force, as the node tells the others. */
export const nodeCertificateSchema = z.object({
  /** Not the enum: a newer node may have more of them. */
  use: z.string(),
  /** SHA-256 of the whole file, in hexadecimal: its chain counts, too. */
  fingerprint: z.string(),
  /** Subject and alternative names of the first certificate in it. */
  names: z.string(),
  /** When the first of its certificates to end does so, milliseconds since 1970. */
  notAfter: z.number(),
});
export type NodeCertificate = z.infer<typeof nodeCertificateSchema>;

interface WithCertificates {
  readonly name: string;
  readonly certificates?: readonly NodeCertificate[] | undefined;
}

/** A client certificate is each node's own, whatever its names. */
const SHARED: readonly string[] = ["admin", "etcd-authority"] satisfies CertificateUse[];

/**
 * Whose certificates are others than ours though they say the same names: a file that was renewed on some nodes only.
 * Certificates with names of their own are each node's own, and not compared. Pure.
 */
export function otherCertificates(
  own: readonly NodeCertificate[],
  nodes: readonly WithCertificates[],
): { readonly node: string; readonly use: string }[] {
  return nodes.flatMap(({ name: node, certificates = [] }) =>
    certificates
      .filter((theirs) => SHARED.includes(theirs.use))
      .filter((theirs) =>
        own.some((ours) => {
          const same = ours.use === theirs.use && ours.names === theirs.names;
          return same && ours.fingerprint !== theirs.fingerprint;
        }),
      )
      .map(({ use }) => ({ node, use })),
  );
}
