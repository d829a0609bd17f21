import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import tar, { type Pack } from "tar-stream";
import { CliError, EXIT } from "../errors.js";
import { size } from "../output.js";
import type { Report } from "../up/report.js";
import { VERSION } from "../version.js";
import { activeProfiles, type ImagePlan, planImages, readSiteFiles, type SiteFile } from "./contents.js";
import { composeServices, type EngineImage, findImage, saveImages } from "./engine.js";
import { installScript } from "./install-script.js";
import {
  IMAGES,
  INSTALL_SCRIPT,
  MANIFEST,
  type Manifest,
  type ManifestFile,
  SITE,
  SUMS,
  sumsOf,
  topDirectory,
} from "./manifest.js";

export interface WriteOptions {
  /** The site's directory: a checkout, or what a bundle was installed to. */
  readonly directory: string;
  /** Default: named after version and platform, in the working directory. */
  readonly output?: string;
  /** Whether a file that is there is replaced. */
  readonly force: boolean;
  readonly report: Report;
  /** Ends it; nothing is left behind. */
  readonly signal: AbortSignal;
}

/** What a bundle would hold. */
export interface Contents extends ImagePlan {
  readonly output: string;
  readonly version: string;
  readonly platform: string;
  readonly files: readonly SiteFile[];
}

export interface Written {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly manifest: Manifest;
}

/** Looks at what there is to bundle. Writes nothing. */
export async function planBundle(options: WriteOptions): Promise<Contents> {
  const directory = resolve(options.directory);
  const files = readSiteFiles(directory);
  const services = await composeServices(directory);
  const found = new Map<string, EngineImage | undefined>();
  for (const { image } of services) if (!found.has(image)) found.set(image, await findImage(image));
  const dotenv = files.find(({ path }) => path === `${SITE}.env`)?.content.toString("utf8") ?? "";
  const plan = planImages(services, found, activeProfiles(dotenv));
  const platform = plan.present[0]?.image.platform ?? "";
  const output = resolve(options.output ?? `longshore-${VERSION}-${platform.replace("/", "-")}.bundle.tar`);
  return { ...plan, output, version: VERSION, platform, files };
}

/** Gzip's fastest: three times as quick as the default for a tenth more bytes. */
const LEVEL = constants.Z_BEST_SPEED;
const CHUNK_BYTES = 256 * 1024;

/** Writes the bundle: whole under its name, or not at all. */
export async function writeBundle(contents: Contents, options: WriteOptions): Promise<Written> {
  const { output, files } = contents;
  const { report, signal } = options;
  refuseToReplace(output, options.force);
  const temporary = join(dirname(output), `.${basename(output)}.${process.pid}`);
  const images = `${temporary}.images`;
  try {
    report.step(`saving ${contents.present.length} images, ${imageBytes(contents)} unpacked at most`);
    const saved = await save(contents, images, signal);
    report.step(`saved them: ${size(saved.tarBytes)}, compressed to ${size(saved.file.bytes)}`);
    const head = {
      version: contents.version,
      platform: contents.platform,
      images: contents.present.map(({ name, image }) => ({ name, id: image.id, bytes: image.bytes })),
      absent: [...contents.absent],
      profiles: contents.profiles === null ? null : [...contents.profiles],
    };
    const script = { path: INSTALL_SCRIPT, content: Buffer.from(installScript(head)), executable: true };
    const texts = [script, ...files];
    const manifest: Manifest = {
      format: 1,
      created: new Date().toISOString(),
      ...head,
      imagesTarBytes: saved.tarBytes,
      files: [...texts.map(listed), saved.file],
    };
    const written = await pack(manifest, texts, images, temporary, signal);
    refuseToReplace(output, options.force);
    await rename(temporary, output);
    report.step(`wrote ${output}: ${size(written.bytes)}`);
    return { file: output, ...written, manifest };
  } finally {
    rmSync(images, { force: true });
    rmSync(temporary, { force: true });
  }
}

export function imageBytes({ present }: Pick<Contents, "present">): string {
  return size(present.reduce((sum, { image }) => sum + image.bytes, 0));
}

function refuseToReplace(output: string, force: boolean): void {
  if (!force && existsSync(output)) {
    throw new CliError(EXIT.conflict, `${output} is there already: --force replaces it, --output names another`);
  }
}

function listed({ path, content, executable }: SiteFile): ManifestFile {
  return { path, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex"), executable };
}

/** Counts and sums what passes. */
function meter() {
  const hash = createHash("sha256");
  const meter = {
    bytes: 0,
    digest: () => hash.digest("hex"),
    async *through(source: AsyncIterable<Buffer>) {
      for await (const chunk of source) {
        meter.bytes += chunk.length;
        hash.update(chunk);
        yield chunk;
      }
    },
  };
  return meter;
}

/** The images, compressed, in a file of their own: an archive says a file's size before its bytes. */
async function save({ present }: Contents, path: string, signal: AbortSignal) {
  const saving = saveImages(present.map(({ name }) => name));
  const plain = meter();
  const packed = meter();
  const gzip = createGzip({ level: LEVEL, chunkSize: CHUNK_BYTES });
  const target = createWriteStream(path, { mode: 0o600, flags: "wx" });
  try {
    await pipeline(saving.stdout, plain.through, gzip, packed.through, target, { signal });
    await saving.done;
  } finally {
    saving.kill();
  }
  const file: ManifestFile = { path: IMAGES, bytes: packed.bytes, sha256: packed.digest(), executable: false };
  return { tarBytes: plain.bytes, file };
}

async function pack(
  manifest: Manifest,
  texts: readonly SiteFile[],
  images: string,
  path: string,
  signal: AbortSignal,
): Promise<{ bytes: number; sha256: string }> {
  const top = topDirectory(manifest.version);
  const mtime = new Date(manifest.created);
  const archive = tar.pack();
  const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
  const sums = Buffer.from(sumsOf(createHash("sha256").update(text).digest("hex"), manifest));
  const filling = (async () => {
    const plain = (name: string, content: Buffer): SiteFile => ({ path: name, content, executable: false });
    for (const { path: name, content, executable } of [plain(MANIFEST, text), plain(SUMS, sums), ...texts]) {
      await add(archive, { name: `${top}/${name}`, mode: executable ? 0o755 : 0o644, mtime, size: content.length }, [
        content,
      ]);
    }
    const bytes = manifest.files.at(-1)?.bytes ?? 0;
    const source = createReadStream(images, { highWaterMark: CHUNK_BYTES });
    await add(archive, { name: `${top}/${IMAGES}`, mode: 0o644, mtime, size: bytes }, source);
    archive.finalize();
  })();
  filling.catch((error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))));
  const whole = meter();
  await pipeline(archive, whole.through, createWriteStream(path, { mode: 0o600, flags: "wx" }), { signal });
  await filling;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes: whole.bytes, sha256: whole.digest() };
}

async function add(
  archive: Pack,
  header: { name: string; mode: number; mtime: Date; size: number },
  content: Iterable<Buffer> | AsyncIterable<Buffer>,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const entry = archive.entry(header, (error) => (error == null ? resolve() : reject(error)));
    // Its failure is the callback's.
    pipeline(content, entry).catch(() => {});
  });
}
