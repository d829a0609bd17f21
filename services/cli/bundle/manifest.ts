import { z } from "zod";

/**
 * What is in a bundle: a tar archive, uncompressed, with everything under one directory and in this order:
 * `manifest.json`, `SHA256SUMS`, then the manifest's files in the manifest's order, the images last. Uncompressed, since
 * the images are compressed for themselves: whoever reads it knows each size before the bytes come.
 */
export const MANIFEST = "manifest.json";
/** The same checksums in the form of `sha256sum`, for machines that have nothing but that. */
export const SUMS = "SHA256SUMS";
export const INSTALL_SCRIPT = "install.sh";
/** What `docker save` wrote, gzipped: `docker load` takes it as it is. */
export const IMAGES = "images.tar.gz";
/** The files below it are the site's. */
export const SITE = "site/";

/** A manifest with more isn't one of ours. Bytes. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
const MAX_PATH = 200;

const name = z.string().regex(/^[\w][\w.@:/+-]{0,255}$/, "isn't the name of an image");
const bytes = z.int().min(0);
const profile = z.string().regex(/^[\w.-]+$/, "isn't the name of a profile");

const manifestFileSchema = z.strictObject({
  /** Relative, in letters that no shell and no file system minds. */
  path: z.string().refine(isSafePath, "isn't a path inside the bundle"),
  bytes,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  executable: z.boolean(),
});
export type ManifestFile = z.infer<typeof manifestFileSchema>;

export const manifestSchema = z
  .strictObject({
    /** Of the bundle. A higher one is a later version's. */
    format: z.literal(1),
    version: z.string().regex(/^[\w.+-]{1,64}$/),
    /** ISO 8601. */
    created: z.iso.datetime(),
    /** As Docker says it: `linux/amd64`. */
    platform: z.string().regex(/^[a-z0-9]+\/[a-z0-9_]+$/),
    /** `id` and `bytes` (unpacked; shared layers count for each) as the engine had them. */
    images: z.array(z.strictObject({ name, id: z.string().regex(/^sha256:[0-9a-f]{64}$/), bytes })).min(1),
    /** Images that the site names and that weren't there to be bundled. */
    absent: z.array(name),
    /** COMPOSE_PROFILES for a start without the absent ones; null: as in `.env`. */
    profiles: z.array(profile).nullable(),
    /** Of the images' archive when unpacked. */
    imagesTarBytes: bytes,
    files: z.array(manifestFileSchema).min(1).max(MAX_FILES),
  })
  .superRefine(({ files }, context) => {
    const fault = faultOfFiles(files.map(({ path }) => path));
    if (fault !== undefined) context.addIssue({ code: "custom", path: ["files"], message: fault });
  });
export type Manifest = z.infer<typeof manifestSchema>;

/** Whether a file of a bundle may have this path: it leads nowhere but below the bundle's own directory. */
export function isSafePath(path: string): boolean {
  if (path.length > MAX_PATH) return false;
  return path.split("/").every((part) => /^[\w.@+-]+$/.test(part) && part !== "." && part !== ".." && part[0] !== "-");
}

/** What is wrong with the list as a whole: each file is there once, none lies below another, and nothing is missing. */
function faultOfFiles(paths: readonly string[]): string | undefined {
  const all = new Set(paths);
  if (all.size !== paths.length) return "a file is listed twice";
  const ours = [MANIFEST, SUMS].find((own) => all.has(own));
  if (ours !== undefined) return `${ours} lists itself`;
  for (const path of paths) {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      if (all.has(parts.slice(0, depth).join("/"))) return `${path} lies below another file`;
    }
    if (path !== IMAGES && path !== INSTALL_SCRIPT && !path.startsWith(SITE)) return `${path} has no place in a bundle`;
  }
  if (paths.at(-1) !== IMAGES) return `${IMAGES} isn't the last file`;
  return all.has(INSTALL_SCRIPT) ? undefined : `${INSTALL_SCRIPT} is missing`;
}

/** The text of SHA256SUMS: the manifest itself first, then its files. */
export function sumsOf(manifestSha256: string, manifest: Manifest): string {
  const lines = [{ path: MANIFEST, sha256: manifestSha256 }, ...manifest.files];
  return lines.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("");
}

/** The directory that everything in the bundle lies in. */
export function topDirectory(version: string): string {
  return `longshore-${version}-bundle`;
}

/** What to type, in the directory that the bundle was installed to. */
export function startCommand({ profiles }: Pick<Manifest, "profiles">): string {
  const chosen = profiles === null ? "" : `COMPOSE_PROFILES=${profiles.join(",")} `;
  return `${chosen}docker compose up -d --wait --no-build`;
}
