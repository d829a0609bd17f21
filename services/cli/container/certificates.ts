import { spawnSync } from "node:child_process";
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CliError, EXIT } from "../errors.js";
import { readIfThere, writeAtomically } from "../files.js";

/** A certificate and its private key, as PEM files. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface LeafOptions {
  readonly name: string;
  /** Names and addresses that it is good for, as `DNS:...` and `IP:...`; none for a mere client. */
  readonly for: readonly string[];
  readonly server: boolean;
}

const AUTHORITY_DAYS = 3_650;
/** Within what clients accept of a server's certificate (825 days). */
const LEAF_DAYS = 800;
/** One that has less than this left is made anew by the next `setup`. */
const RENEW_DAYS = 90;
const DAY_MS = 86_400_000;

/** Makes the authority where there is none. Returns what was done, undefined where nothing. */
export function ensureAuthority(authority: KeyPair, name: string): string | undefined {
  const there = [authority.certificate, authority.key].filter((file) => readIfThere(file) !== undefined);
  if (there.length === 2) return undefined;
  if (there.length === 1) {
    throw new CliError(
      EXIT.settings,
      `${there[0]} is there without its other half: restore the volume \`authority\` from a backup, or remove it to have new certificates made`,
    );
  }
  inScratch((scratch) => {
    const made = { certificate: join(scratch, "ca.pem"), key: join(scratch, "ca.key") };
    const usage = [
      "-addext",
      "basicConstraints=critical,CA:TRUE,pathlen:0",
      "-addext",
      "keyUsage=critical,keyCertSign",
    ];
    openssl([
      "req",
      "-x509",
      ...newKey(made.key),
      "-out",
      made.certificate,
      ...days(AUTHORITY_DAYS),
      ...subject(name),
      ...usage,
    ]);
    install(made, authority);
  });
  return `made the authority "${name}"`;
}

/** Has the authority sign a certificate where there is no good one. Returns what was done, undefined where nothing. */
export function ensureLeaf(leaf: KeyPair, authority: KeyPair, options: LeafOptions): string | undefined {
  const fault = whyNotGood(
    { certificate: readIfThere(leaf.certificate), key: readIfThere(leaf.key) },
    readFileSync(authority.certificate, "utf8"),
    options,
    new Date(),
  );
  if (fault === undefined) return undefined;
  inScratch((scratch) => {
    const made = { certificate: join(scratch, "leaf.pem"), key: join(scratch, "leaf.key") };
    const [request, extensions] = [join(scratch, "leaf.csr"), join(scratch, "leaf.ext")];
    writeFileSync(extensions, extensionsOf(options));
    openssl(["req", "-new", ...newKey(made.key), "-out", request, ...subject(options.name)]);
    const signer = ["-CA", authority.certificate, "-CAkey", authority.key, "-extfile", extensions];
    openssl(["x509", "-req", "-in", request, "-out", made.certificate, ...days(LEAF_DAYS), ...signer]);
    install(made, leaf);
  });
  return `made a certificate for ${options.name} (${fault})`;
}

/** Why a certificate must be made; undefined where the one that is there will do. */
export function whyNotGood(
  there: { readonly certificate: string | undefined; readonly key: string | undefined },
  authority: string,
  options: Pick<LeafOptions, "for">,
  now: Date,
): string | undefined {
  if (there.certificate === undefined || there.key === undefined) return "there was none";
  let certificate: X509Certificate;
  let key: KeyObject;
  try {
    certificate = new X509Certificate(there.certificate);
    key = createPrivateKey(there.key);
  } catch {
    return "the old one couldn't be read";
  }
  if (!certificate.checkPrivateKey(key)) return "the old one wasn't for its key";
  if (!certificate.verify(new X509Certificate(authority).publicKey)) return "the old one was another authority's";
  if (Date.parse(certificate.validTo) - now.getTime() < RENEW_DAYS * DAY_MS) return "the old one was about to end";
  if (namesOf(certificate).join() !== [...options.for].sort().join()) return "its addresses have changed";
  return undefined;
}

/** As `DNS:...` and `IP:...`, sorted. */
function namesOf(certificate: X509Certificate): string[] {
  const names = certificate.subjectAltName?.split(", ") ?? [];
  return names.map((text) => text.replace(/^IP Address:/, "IP:")).sort();
}

function extensionsOf(options: LeafOptions): string {
  return [
    "basicConstraints=critical,CA:FALSE",
    // etcd's own gateway and its health check call it with its server certificate, so that one needs both uses.
    `extendedKeyUsage=${options.server ? "serverAuth,clientAuth" : "clientAuth"}`,
    ...(options.for.length === 0 ? [] : [`subjectAltName=${options.for.join(",")}`]),
    "",
  ].join("\n");
}

function newKey(file: string): string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", file];
}

function days(count: number): string[] {
  return ["-days", String(count)];
}

function subject(name: string): string[] {
  return ["-subj", `/O=Longshore/CN=${name}`];
}

/** The key first: a crash in between leaves a pair that doesn't match, which the next run sees and makes anew. */
function install(made: KeyPair, target: KeyPair): void {
  writeAtomically(target.key, readFileSync(made.key, "utf8"));
  writeAtomically(target.certificate, readFileSync(made.certificate, "utf8"));
}

/** Keys appear in a directory that is ours alone, and only whole ones leave it. */
function inScratch(work: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "longshore-"));
  try {
    work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function openssl(parameters: readonly string[]): void {
  const { status, stderr, error } = spawnSync("openssl", parameters, { encoding: "utf8" });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim().split("\n").at(-1) ?? "";
  throw new CliError(EXIT.failed, `openssl ${parameters[0]} failed: ${why}`, error);
}
