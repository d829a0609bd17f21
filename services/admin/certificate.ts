import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { LongshoreError } from "#lib/errors.js";
import { followFiles } from "#lib/followed-files.js";
import type { Logger } from "#lib/logger.js";

/** Of the admin port; both in PEM. The certificate's file holds its chain, too. */
export interface AdminTls {
  readonly certificateFile: string;
  readonly keyFile: string;
}

export interface CertificateFollower {
  /** What the port starts with. */
  readonly initial: SecureContextOptions;
  /** The certificate in use now, with its chain, in PEM. */
  current(): string;
  /** Looks at the files from now on, and hands over each new pair that fits. Returns how to stop that. */
  follow(renewed: (pair: SecureContextOptions) => void): () => void;
}

/** The admin port's certificate, followed. Throws a LongshoreError where the first pair can't be used. */
export function createCertificateFollower(files: AdminTls, logger: Logger): CertificateFollower {
  const initial = readPair(files);
  let current = initial;
  return {
    initial,
    current: () => current.cert,
    follow(renewed) {
      return followFiles({
        first: initial,
        read: () => readPair(files),
        same: (one, other) => one.cert === other.cert && one.key === other.key,
        renewed(next) {
          renewed(next);
          current = next;
          const { validTo, subject } = new X509Certificate(next.cert);
          logger.info("the admin port has a new certificate", { subject, validTo });
        },
        refused(error) {
          // Between the two renames the pair doesn't fit: the old one stays in use.
          logger.warn("the admin port's new certificate can't be used; the old one stays", { error });
        },
      });
    },
  };
}

/** Throws a LongshoreError that names the setting: unreadable, not PEM, or a key of another certificate. */
export function readPair({ certificateFile, keyFile }: AdminTls): { readonly cert: string; readonly key: string } {
  const pair = { cert: readPem("certificateFile", certificateFile), key: readPem("keyFile", keyFile) };
  try {
    createSecureContext(pair);
  } catch (error) {
    const why = "certificate and key can't be used together";
    throw new LongshoreError("invalid-argument", `admin.tls: ${certificateFile}, ${keyFile}: ${why}`, error);
  }
  return pair;
}

function readPem(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new LongshoreError("io", `admin.tls.${setting}: ${path} can't be read`, error);
  }
}
