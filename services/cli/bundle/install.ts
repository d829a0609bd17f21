import { createHash } from "node:crypto";
import { createReadStream, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { chmod, mkdtemp, open, rename, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { size } from "../output.js";
import type { Report } from "../up/report.js";
import { enginePlatform, findImage, loadImages } from "./engine.js";
import { IMAGES, type Manifest, type ManifestFile, SITE } from "./manifest.js";
import { BundleError, type BundleSink, type FileSink, type ReadBundle, readBundle } from "./read.js";

export interface InstallOptions {
  readonly file: string;
  /** What the archive's own SHA-256 must be; absent: whatever it is. */
  readonly sha256?: string;
  readonly directory: string;
  /** Whether files that are there and differ are replaced; `.env` never is. */
  readonly force: boolean;
  readonly report: Report;
  readonly signal: AbortSignal;
}

const CHUNK_BYTES = 256 * 1024;
const DOTENV = ".env";

/** Reads the archive and checks everything in it. Throws a CliError of one sentence. */
export async function verifyBundle(
  options: Pick<InstallOptions, "file" | "sha256"> & { readonly signal?: AbortSignal },
  sink: BundleSink = {},
): Promise<ReadBundle> {
  try {
    const chunks = createReadStream(options.file, {
      highWaterMark: CHUNK_BYTES,
      ...(options.signal && { signal: options.signal }),
    });
    const read = await readBundle(chunks as AsyncIterable<Buffer>, sink);
    if (options.sha256 !== undefined && options.sha256.toLowerCase() !== read.sha256) {
      throw new BundleError(`its SHA-256 is ${read.sha256}, another than was asked for`);
    }
    return read;
  } catch (error) {
    if (error instanceof BundleError) {
      const message = `${options.file} can't be used: ${error.message}. Nothing was loaded: get the bundle again from where it was made`;
      throw new CliError(error.exitCode, message, error);
    }
    if (systemCode(error) === "ENOENT") throw new CliError(EXIT.notFound, `there is no ${options.file}`, error);
    if (systemCode(error) !== undefined && !(error instanceof CliError)) {
      throw new CliError(EXIT.failed, `${options.file}: ${messageOf(error)}. Nothing was loaded`, error);
    }
    throw error;
  }
}

/** What becomes of one of the site's files. */
export interface Placement {
  /** Relative to the bundle. */
  readonly from: string;
  /** Absolute. */
  readonly to: string;
  readonly act: "write" | "replace" | "same" | "beside";
}

/**
 * Where each file goes, by the content that is there now. Throws a CliError where a file would be lost without `force`, or
 * a link in the directory would lead the writing elsewhere.
 */
export function placeFiles(manifest: Manifest, directory: string, force: boolean): Placement[] {
  return manifest.files
    .filter(({ path }) => path.startsWith(SITE))
    .map((file) => {
      const relative = file.path.slice(SITE.length);
      const to = join(directory, relative);
      refuseLinks(directory, relative);
      if (!existsSync(to)) return { from: file.path, to, act: "write" };
      if (createHash("sha256").update(readFileSync(to)).digest("hex") === file.sha256) {
        return { from: file.path, to, act: "same" };
      }
      // Settings that somebody made here stay.
      if (relative === DOTENV) return { from: file.path, to: `${to}.new`, act: "beside" };
      if (force) return { from: file.path, to, act: "replace" };
      const why =
        "is there already and differs. Nothing was loaded: --force replaces it, --dir names another directory";
      throw new CliError(EXIT.conflict, `${to} ${why}`);
    });
}

function refuseLinks(directory: string, relative: string): void {
  let path = directory;
  const parts = relative.split("/");
  for (const [index, part] of parts.entries()) {
    path = join(path, part);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return;
    const fits = index === parts.length - 1 ? found.isFile() : found.isDirectory();
    if (!fits) {
      throw new CliError(EXIT.conflict, `${path} is a link, or no plain file. Nothing was loaded: move it away`);
    }
  }
}

export interface Installed extends ReadBundle {
  readonly directory: string;
  readonly placements: readonly Placement[];
}

/** What `installBundle` would do, with everything checked that it checks. Writes and loads nothing. */
export async function tryInstall(options: InstallOptions): Promise<Installed> {
  const directory = resolve(options.directory);
  const read = await verifyBundle(options, { begin: checkPlatform });
  return { ...read, directory, placements: placeFiles(read.manifest, directory, options.force) };
}

/**
 * Unpacks the archive to a private directory, and only when all of it is right, loads the images and moves the files to
 * their places. Where that fails earlier, no trace of it is left.
 */
export async function installBundle(options: InstallOptions): Promise<Installed> {
  const directory = resolve(options.directory);
  const { report } = options;
  const made = mkdirSync(directory, { recursive: true });
  // Inside, so that moving the files is renaming them.
  const staging = await mkdtemp(join(directory, ".bundle-"));
  let done = false;
  try {
    const read = await verifyBundle(options, {
      async begin(manifest) {
        report.step(`a bundle of Longshore ${manifest.version} for ${manifest.platform}, made ${manifest.created}`);
        await checkPlatform(manifest);
        checkSpace(manifest, staging);
      },
      file: (file) => stage(staging, file),
    });
    const placements = placeFiles(read.manifest, directory, options.force);
    report.step(`all ${read.manifest.files.length} checksums are right`);
    options.signal.throwIfAborted();
    await loadImages(join(staging, IMAGES));
    await checkImages(read.manifest, report);
    for (const placement of placements) await put(staging, placement, read.manifest);
    const beside = placements.find(({ act }) => act === "beside");
    if (beside !== undefined) report.warn(`${DOTENV} stays as it is here; the bundle's is ${beside.to}`);
    report.step(`${placements.length} files are in ${directory}`);
    done = true;
    return { ...read, directory, placements };
  } finally {
    rmSync(staging, { recursive: true, force: true });
    if (!done && made !== undefined) await removeEmpty(directory, made);
  }
}

/** Removes the directory and those above it, up to the topmost that was made for it. */
async function removeEmpty(directory: string, topmost: string): Promise<void> {
  for (let path = directory; path.startsWith(topmost); path = dirname(path)) {
    try {
      await rmdir(path);
    } catch {
      // Somebody has put something there meanwhile: it stays.
      return;
    }
  }
}

async function checkPlatform({ platform }: Manifest): Promise<void> {
  const engine = await enginePlatform();
  if (engine === platform) return;
  throw new CliError(EXIT.failed, `the bundle is for ${platform}, and this engine is ${engine}. Nothing was loaded`);
}

/** The files, and the images once more in the engine's own directory. */
function checkSpace(manifest: Manifest, directory: string): void {
  const needed = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  if (needed < free) return;
  throw new CliError(
    EXIT.failed,
    `${directory} has ${size(free)} free, and the bundle needs ${size(needed)} to unpack`,
  );
}

async function stage(staging: string, { path }: ManifestFile): Promise<FileSink> {
  const target = join(staging, path);
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  const handle = await open(target, "wx", 0o600);
  return { write: (chunk) => handle.appendFile(chunk), close: () => handle.close() };
}

/** Engines that keep their images in another way give them other ids; the name must be there all the same. */
async function checkImages(manifest: Manifest, report: Report): Promise<void> {
  for (const { name, id } of manifest.images) {
    const found = await findImage(name);
    if (found === undefined) throw new CliError(EXIT.failed, `the engine has no ${name} after loading: see its log`);
    if (found.id !== id) report.warn(`${name} is ${found.id} here, and was ${id} where the bundle was made`);
  }
  report.step(`loaded ${manifest.images.map(({ name }) => name).join(", ")}`);
}

async function put(staging: string, { from, to, act }: Placement, manifest: Manifest): Promise<void> {
  if (act === "same") return;
  const executable = manifest.files.find(({ path }) => path === from)?.executable ?? false;
  mkdirSync(dirname(to), { recursive: true });
  await chmod(join(staging, from), executable ? 0o755 : 0o644);
  await rename(join(staging, from), to);
}
