import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CliError, EXIT } from "../errors.js";
import { size } from "../output.js";
import type { ComposeService, EngineImage } from "./engine.js";
import { isSafePath, SITE } from "./manifest.js";

/** Of the site's directory, that much goes into a bundle; a tree that isn't there is left out, the first two must be. */
const NEEDED = [".env", "compose"];
const PARTS = [...NEEDED, "grafana", "ansible", "docs", "README.md", "CHANGELOG.md", "LICENSE"];

/** Texts are kept in memory until they are written; more than this isn't a site's directory. Bytes, all together. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;

export interface SiteFile {
  /** In the bundle. */
  readonly path: string;
  readonly content: Buffer;
  readonly executable: boolean;
}

/**
 * The site's files, read. Throws a CliError for what has no place in something that travels: links, and private keys.
 * Hidden files of the trees stay behind, since editors, Ansible's vault and git keep their own there.
 */
export function readSiteFiles(root: string): SiteFile[] {
  for (const part of NEEDED) {
    if (!existsSync(join(root, part))) {
      throw new CliError(EXIT.notFound, `${root} has no ${part}: name the directory of the site with --dir`);
    }
  }
  const files: SiteFile[] = [];
  let total = 0;
  const take = (path: string): void => {
    const full = join(root, path);
    const found = lstatSync(full);
    if (found.isDirectory()) {
      for (const name of readdirSync(full).sort()) if (!name.startsWith(".")) take(`${path}/${name}`);
      return;
    }
    if (!found.isFile())
      throw new CliError(EXIT.usage, `${full} isn't a plain file: a bundle holds no links or devices`);
    if (!isSafePath(`${SITE}${path}`)) {
      throw new CliError(EXIT.usage, `${full} can't go into a bundle: name it in letters, digits and . _ @ + - only`);
    }
    total += found.size;
    if (total > MAX_TEXT_BYTES) {
      throw new CliError(
        EXIT.usage,
        `${root} holds more than ${size(MAX_TEXT_BYTES)} of files: move ${path} out of it`,
      );
    }
    const content = readFileSync(full);
    if (isPrivateKey(content)) {
      throw new CliError(EXIT.usage, `${full} holds a private key, and a bundle travels: move it out of ${root}`);
    }
    files.push({ path: `${SITE}${path}`, content, executable: (found.mode & 0o100) !== 0 });
  };
  for (const part of PARTS) if (existsSync(join(root, part))) take(part);
  return files;
}

export function isPrivateKey(content: Buffer): boolean {
  return /^\s*-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(content.subarray(0, 200).toString("latin1"));
}

export interface ImagePlan {
  /** In the engine, each once. */
  readonly present: readonly { readonly name: string; readonly image: EngineImage }[];
  /** Pulled ones that the engine hasn't got: the bundle does without. */
  readonly absent: readonly string[];
  /** COMPOSE_PROFILES for a start without the absent ones; null: as the site has them. */
  readonly profiles: readonly string[] | null;
}

/**
 * Which images go in. Pure. Throws a CliError where one is missing that the site is built from, or that runs under no
 * profile: a site can't be started without it.
 */
export function planImages(
  services: readonly ComposeService[],
  found: ReadonlyMap<string, EngineImage | undefined>,
  activeProfiles: readonly string[],
): ImagePlan {
  const missing = services.filter(({ image }) => found.get(image) === undefined);
  const unbuilt = missing.find(({ built }) => built);
  if (unbuilt !== undefined) {
    throw new CliError(
      EXIT.notFound,
      `the image ${unbuilt.image} isn't built here: docker compose --profile '*' build`,
    );
  }
  const needed = missing.find(({ profiles }) => profiles.length === 0);
  if (needed !== undefined) {
    throw new CliError(EXIT.notFound, `the image ${needed.image} isn't here: docker pull ${needed.image}`);
  }
  const present = [...found].flatMap(([name, image]) => (image === undefined ? [] : [{ name, image }]));
  if (present.length === 0) throw new CliError(EXIT.notFound, "the site names no image: there is nothing to bundle");
  const platforms = new Set(present.map(({ image }) => image.platform));
  if (platforms.size > 1) {
    throw new CliError(
      EXIT.usage,
      `the images are for several platforms (${[...platforms].join(", ")}): build them anew`,
    );
  }
  const without = new Set(missing.flatMap(({ profiles }) => profiles));
  const left = activeProfiles.filter((profile) => !without.has(profile));
  return {
    present,
    absent: [...new Set(missing.map(({ image }) => image))],
    profiles: left.length === activeProfiles.length ? null : left,
  };
}

/** COMPOSE_PROFILES of a `.env`. Pure. */
export function activeProfiles(dotenv: string): string[] {
  const line = dotenv.split(/\r?\n/).findLast((each) => /^\s*COMPOSE_PROFILES\s*=/.test(each));
  const value = line?.replace(/^[^=]*=/, "").replace(/\s+#.*$/, "") ?? "";
  return value
    .replace(/["']/g, "")
    .split(",")
    .map((profile) => profile.trim())
    .filter((profile) => profile !== "");
}
