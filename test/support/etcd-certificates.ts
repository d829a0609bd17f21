import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensurePackages } from "./packages.js";
import { run } from "./processes.js";

export interface Certificate {
  /** Paths of PEM files. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A throw-away certificate authority in `directory`, made with the openssl command. `name` tells several apart. */
export async function makeAuthority(
  directory: string,
  name: string,
): Promise<(commonName: string) => Promise<Certificate>> {
  const { openssl } = ensurePackages({ openssl: "openssl" });
  const at = (file: string) => join(directory, `${name}-${file}`);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = at("ca.pem");
  await run(openssl, [
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    at("ca.key"),
    "-out",
    ca,
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
  ]);
  return async (commonName) => {
    const [cert, key, request, extensions] = ["pem", "key", "csr", "ext"].map((suffix) =>
      at(`${commonName}.${suffix}`),
    ) as [string, string, string, string];
    // etcd's own gateway calls it with its server certificate, so that one needs both uses.
    await writeFile(extensions, "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n");
    await run(openssl, ["req", "-new", ...newKey, "-keyout", key, "-out", request, "-subj", `/CN=${commonName}`]);
    const signed = ["-CA", ca, "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", extensions];
    await run(openssl, ["x509", "-req", "-in", request, "-out", cert, ...signed]);
    return { ca, cert, key };
  };
}
