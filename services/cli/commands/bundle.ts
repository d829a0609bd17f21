import type { Command } from "commander";
import { monotonicMs } from "#lib/clock.js";
import { type Installed, type InstallOptions, installBundle, tryInstall, verifyBundle } from "../bundle/install.js";
import { type Manifest, startCommand } from "../bundle/manifest.js";
import {
  type Contents,
  imageBytes,
  planBundle,
  type WriteOptions,
  type Written,
  writeBundle,
} from "../bundle/write.js";
import { CliError, EXIT } from "../errors.js";
import { json, size, table } from "../output.js";
import { textReport } from "../up/report.js";
import { untilSignalled } from "../up/signals.js";
import { shellWord } from "../up/ssh.js";

interface BundleFlags {
  readonly dir?: string;
  readonly output?: string;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

interface InstallFlags extends BundleFlags {
  readonly sha256?: string;
}

const DEFAULT_TARGET = "longshore";

export function addBundleCommands(program: Command): void {
  const bundle = program
    .command("bundle")
    .description("one archive of the container site, for machines without a network")
    .option("--dir <dir>", "the site's directory, with .env and compose/ (default: the working directory)")
    .option("--output <file>", "the archive (default: longshore-VERSION-PLATFORM.bundle.tar)")
    .option("--force", "replace a file that is there")
    .option("--dry-run", "say what would go in, and write nothing")
    .option("--json", "answer in JSON")
    .action(write);
  bundle
    .command("install")
    .description("check a bundle, load its images, unpack its files")
    .argument("<file>")
    .option("--dir <dir>", `where the files go (default: ${DEFAULT_TARGET})`)
    .option("--sha256 <hex>", "what the archive's own checksum must be")
    .option("--force", "replace files that differ; .env stays")
    .option("--dry-run", "check all, and write and load nothing")
    .option("--json", "answer in JSON")
    .action((file: string, _: unknown, command: Command) => install(file, command.optsWithGlobals()));
  bundle
    .command("verify")
    .description("check a bundle's manifest and every checksum")
    .argument("<file>")
    .option("--sha256 <hex>", "what the archive's own checksum must be")
    .option("--json", "answer in JSON")
    .action((file: string, _: unknown, command: Command) => verify(file, command.optsWithGlobals()));
}

async function write(flags: BundleFlags): Promise<void> {
  const options: WriteOptions = {
    directory: flags.dir ?? ".",
    ...(flags.output !== undefined && { output: flags.output }),
    force: flags.force === true,
    report: progress(),
    signal: untilSignalled().first,
  };
  const contents = await planBundle(options);
  for (const image of contents.absent) options.report.warn(`${image} isn't here, so the bundle does without it`);
  if (flags.dryRun) {
    process.stdout.write(flags.json ? json(planOf(contents)) : planText(contents));
    return;
  }
  const written = await unlessStopped(options.signal, writeBundle(contents, options));
  const { manifest, ...archive } = written;
  process.stdout.write(flags.json ? json({ ...archive, ...summary(manifest) }) : writtenText(written));
}

async function install(file: string, flags: InstallFlags): Promise<void> {
  const options: InstallOptions = {
    file,
    directory: flags.dir ?? DEFAULT_TARGET,
    ...(flags.sha256 !== undefined && { sha256: flags.sha256 }),
    force: flags.force === true,
    report: progress(),
    signal: untilSignalled().first,
  };
  const installed = await unlessStopped(options.signal, flags.dryRun ? tryInstall(options) : installBundle(options));
  const { manifest, sha256, directory, placements } = installed;
  const files = placements.map(({ to, act }) => ({ path: to, act }));
  process.stdout.write(
    flags.json
      ? json({ ...summary(manifest), sha256, directory, files, next: startCommand(manifest) })
      : installedText(installed, flags.dryRun === true),
  );
}

async function verify(file: string, flags: InstallFlags): Promise<void> {
  const { manifest, sha256 } = await verifyBundle({
    file,
    ...(flags.sha256 !== undefined && { sha256: flags.sha256 }),
  });
  const said = `${file} is whole: Longshore ${manifest.version} for ${manifest.platform}, ${manifest.files.length} files`;
  process.stdout.write(
    flags.json ? json({ ...summary(manifest), sha256 }) : `${said}\n\n${imageTable(manifest)}\nSHA-256 ${sha256}\n`,
  );
}

/** A stop by signal is no error of the work's. */
async function unlessStopped<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw signal.aborted ? new CliError(EXIT.failed, "stopped before it was done", error) : error;
  }
}

/** To stderr: stdout is the answer. */
function progress() {
  return textReport((line) => process.stderr.write(line), monotonicMs);
}

function summary({ version, created, platform, images, absent, files }: Manifest) {
  return { version, created, platform, images, absent, fileCount: files.length };
}

function planOf({ output, version, platform, present, absent, files }: Contents) {
  return {
    file: output,
    version,
    platform,
    images: present.map(({ name, image }) => ({ name, id: image.id, bytes: image.bytes })),
    absent,
    files: files.map(({ path, content }) => ({ path, bytes: content.length })),
  };
}

function planText(contents: Contents): string {
  const rows = [
    ...contents.present.map(({ name, image }) => ["image", name, size(image.bytes)]),
    ...contents.files.map(({ path, content }) => ["file", path, size(content.length)]),
  ];
  const most = `at most ${imageBytes(contents)} of images; compressed, with shared layers once, it is less`;
  return `${table(["WHAT", "NAME", "SIZE"], rows)}\nwould write ${contents.output}: ${most}\n`;
}

function imageTable({ images }: Pick<Manifest, "images">): string {
  const rows = images.map(({ name, id, bytes }) => [name, size(bytes), id.replace("sha256:", "").slice(0, 12)]);
  return table(["IMAGE", "SIZE", "ID"], rows);
}

function writtenText({ file, sha256, manifest }: Written): string {
  const how = `On the other machine: longshore bundle install FILE, or unpack it with tar and run sh install.sh`;
  return `${imageTable(manifest)}\n${file}\nSHA-256 ${sha256}\n\n${how}\n`;
}

function installedText({ manifest, directory, placements }: Installed, dry: boolean): string {
  const changed = placements.filter(({ act }) => act !== "same").length;
  const did = dry ? "would load the images and write" : "installed; wrote";
  const next = `cd ${shellWord(directory)} && ${startCommand(manifest)}`;
  return `${imageTable(manifest)}\n${did} ${changed} of ${placements.length} files to ${directory}\nnext: ${next}\n`;
}
