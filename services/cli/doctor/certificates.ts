import type { Finding, NodeFacts } from "./facts.js";

/** As the alerts LongshoreCertificateExpires and LongshoreCertificateExpired. */
const WARN_DAYS = 21;
const FAIL_DAYS = 3;
const DAY_MS = 86_400_000;

/** The nodes' certificates: when they end, and whether all have the same ones. Pure. */
export function certificates(nodes: readonly NodeFacts[], now = Date.now()): Finding[] {
  const check = "certificates";
  const told = nodes.flatMap(({ name, answer }) => (answer.kind === "status" ? [{ name, status: answer.status }] : []));
  const all = told.flatMap(({ name, status }) => {
    const own = status.nodes.find((each) => each.name === name)?.certificates ?? [];
    return own.map(({ use, notAfter }) => ({ node: name, use, notAfter }));
  });
  const ending = all.flatMap(({ node: subject, use, notAfter }): Finding[] => {
    const soon = endingSoon(notAfter, now);
    if (soon === undefined) return [];
    const mend =
      "renew the file; the admin port's is read again within a second, etcd's at a restart of the node (drain it first)";
    return [{ check, subject, result: soon.result, seen: `${use} ${soon.words}`, mend }];
  });
  // Each pair of nodes tells of the other: one of the two says enough.
  const others = told
    .flatMap(({ name, status }) => status.config.otherCertificates.map(({ node, use }) => ({ name, node, use })))
    .filter(({ name, node }, _, pairs) => name < node || !pairs.some((each) => each.name === node))
    .map(({ name, node, use }): Finding => {
      const seen = `${node} and ${name} have different certificates (${use}) for the same names`;
      return {
        check,
        subject: "site",
        result: "fail",
        seen,
        mend: "put the current files on the node with the old ones",
      };
    });
  if (ending.length + others.length > 0) return [...ending, ...others];
  const first = all.reduce<(typeof all)[number] | undefined>((least, each) => {
    return least === undefined || each.notAfter < least.notAfter ? each : least;
  }, undefined);
  if (first === undefined) return [];
  const seen = `${all.length} in force, the first ends on ${day(first.notAfter)} (${first.use} of ${first.node})`;
  return [{ check, subject: "site", result: "ok", seen }];
}

/** Undefined: it lasts. Pure. */
export function endingSoon(
  notAfter: number,
  now = Date.now(),
): { readonly result: "warn" | "fail"; readonly words: string } | undefined {
  const days = (notAfter - now) / DAY_MS;
  if (days >= WARN_DAYS) return undefined;
  return { result: days < FAIL_DAYS ? "fail" : "warn", words: `${days < 0 ? "ended" : "ends"} on ${day(notAfter)}` };
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

/** What to do where a connection failed for its certificate; `problem` is the system's code. Pure. */
export function mendOfTls(problem: string): string | undefined {
  switch (problem) {
    case "CERT_HAS_EXPIRED":
      return "its certificate has ended: renew the files of `admin.tls`; they are read again within a second";
    case "CERT_NOT_YET_VALID":
      return "its certificate begins later: do the clocks here and there agree?";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "its certificate is for other names: make one that holds the address (DNS or IP) it is asked at";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "its certificate is of an authority that isn't known here: name the site's with --ca-file";
    case "EPROTO":
      return "it speaks plain HTTP where HTTPS was asked, or the other way round: compare `admin.tls` with the address";
    default:
      return undefined;
  }
}
