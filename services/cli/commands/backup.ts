import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { type Archive, PARTS, pack, unpack } from "#backup/archive.js";
import { SCOPES, type Scope } from "#backup/contents.js";
import { type BackupKey, decrypt, encrypt, readBackupKey } from "#backup/crypt.js";
import { BackupError } from "#backup/errors.js";
import { readKeyRing } from "#lib/seal.js";
import { type AdminAccess, AdminError, askAdminForBytes } from "../admin-client.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { writeAtomically } from "../files.js";
import { json, size } from "../output.js";
import { adminAccess } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

interface BackupFlags extends ClientOptions {
  readonly keyFile: string;
  readonly scope: Scope;
  readonly withClusterKey?: string;
  readonly force?: boolean;
}

interface RestoreFlags extends ClientOptions {
  readonly keyFile: string;
  readonly dryRun?: boolean;
  readonly adoptStorage?: boolean;
  readonly nodeTo?: string;
}

/** A site of 100,000 accounts takes seconds. */
const TIMEOUT_MS = 300_000;
const ARCHIVE_TYPE = "application/x-tar";

const KEY_FILE_HELP = "file with 32 bytes (openssl rand -base64 32), or with a passphrase of at least 12 characters";

export function addBackupCommands(program: Command): void {
  withSite(
    program
      .command("backup")
      .description("write the site's configuration and security state, or one node's own data, into one encrypted file")
      .argument("<file>")
      .requiredOption("--key-file <file>", KEY_FILE_HELP),
  )
    .addOption(
      new Option("--scope <scope>", "shared: what all nodes share; node: settings and id of the node asked")
        .choices(SCOPES)
        .default("shared"),
    )
    .option(
      "--with-cluster-key <file>",
      "also put the cluster key in, from this file: needed to restore onto a site with another one",
    )
    .option("--force", "replace a file that is there")
    .action(backup);
  withSite(
    program
      .command("restore")
      .description("check a backup, then make the site what it says; sessions of unchanged accounts go on")
      .argument("<file>")
      .requiredOption("--key-file <file>", KEY_FILE_HELP),
  )
    .option("--dry-run", "say what would be added, changed and removed, and change nothing")
    .option(
      "--adopt-storage",
      "take the backup's site id, too: for a new store with the storage of the site that was backed up",
    )
    .option("--node-to <dir>", "instead: write the node's settings and id into this directory, and change no site")
    .action(restore);
}

async function backup(file: string, options: BackupFlags): Promise<void> {
  const key = backupKey(options.keyFile);
  if (existsSync(file) && options.force !== true) throw new CliError(EXIT.conflict, `${file} is there: use --force`);
  const clusterKey = options.withClusterKey === undefined ? undefined : clusterKeyIn(options.withClusterKey);
  const { body: received } = await askAdminForBytes(adminAccess(options), `/api/v1/backup?scope=${options.scope}`, {
    headers: { accept: ARCHIVE_TYPE },
    timeoutMs: TIMEOUT_MS,
  });
  // Checked before it is kept: a backup that can't be read is found now, and not on the day when it is needed.
  const whole = await checked(() => unpack(received));
  const parts = new Map(whole.parts);
  if (clusterKey !== undefined) parts.set(PARTS.clusterKey, clusterKey);
  const archive = clusterKey === undefined ? received : await pack({ facts: whole.facts, parts });
  const encrypted = encrypt(archive, key);
  writeBytes(file, encrypted);
  await checked(() => unpack(decrypt(readFileSync(file), key)));
  const { facts } = whole;
  const answer = { file, bytes: encrypted.length, clusterKey: clusterKey !== undefined, ...facts };
  const what =
    facts.entries === undefined ? "one node's data" : `${facts.entries} entries at revision ${facts.revision}`;
  process.stdout.write(
    options.output === "json"
      ? json(answer)
      : `${file}: ${what}, ${size(encrypted.length)}. Partners' files and the audit log are not in it.\n`,
  );
}

async function restore(file: string, options: RestoreFlags): Promise<void> {
  const key = backupKey(options.keyFile);
  const archive = await checked(() => unpack(decrypt(read(file), key)));
  if (options.nodeTo !== undefined) {
    restoreNode(archive, options.nodeTo, options);
    return;
  }
  const answer = await sendRestore(adminAccess(options), archive, options);
  if (options.output === "json") {
    process.stdout.write(json(answer));
    return;
  }
  const { counts, dryRun, revision } = answer;
  const names = (sign: string, list: readonly string[]) => list.map((name) => `${sign} ${name}\n`).join("");
  process.stdout.write(
    names("+", answer.added) +
      names("~", answer.changed) +
      names("-", answer.removed) +
      `${dryRun ? "would be" : "were"}: ${counts.added} added, ${counts.changed} changed, ${counts.removed} removed; ` +
      `${counts.unchanged} are as they were${dryRun ? "" : ` (revision ${revision})`}\n`,
  );
}

const restoredSchema = z.looseObject({
  dryRun: z.boolean(),
  revision: z.number(),
  counts: z.looseObject({ added: z.number(), changed: z.number(), removed: z.number(), unchanged: z.number() }),
  added: z.array(z.string()),
  changed: z.array(z.string()),
  removed: z.array(z.string()),
});

/** The backup's cluster key is sent only where the site asks for it. */
async function sendRestore(access: AdminAccess, archive: Archive, options: RestoreFlags) {
  const query = `dryRun=${options.dryRun === true}&adoptStorage=${options.adoptStorage === true}`;
  const send = async (parts: Archive["parts"]) => {
    const body = await pack({ facts: archive.facts, parts });
    const answer = await askAdminForBytes(access, `/api/v1/restore?${query}`, {
      method: "POST",
      body,
      headers: { "content-type": ARCHIVE_TYPE },
      timeoutMs: TIMEOUT_MS,
    });
    return answerAs(restoredSchema, JSON.parse(answer.body.toString("utf8")));
  };
  const entries = new Map([...archive.parts].filter(([name]) => name === PARTS.entries));
  const clusterKey = archive.parts.get(PARTS.clusterKey);
  try {
    return await send(entries);
  } catch (error) {
    if (!(error instanceof AdminError && error.status === 409) || clusterKey === undefined) throw error;
    return await send(new Map([...entries, [PARTS.clusterKey, clusterKey]]));
  }
}

/** For a host that is built anew under the identity of the node that it was. */
function restoreNode(archive: Archive, directory: string, options: RestoreFlags): void {
  const files = [
    ["settings.json", archive.parts.get(PARTS.nodeSettings)],
    ["node-id", archive.parts.get(PARTS.nodeId)],
  ] as const;
  const written = files.map(([name, content]) => {
    if (content === undefined)
      throw new CliError(EXIT.usage, "the backup holds no node's data: it is one of shared data");
    const path = join(directory, name);
    if (existsSync(path)) throw new CliError(EXIT.conflict, `${path} is there: give an empty directory`);
    return [path, content] as const;
  });
  if (options.dryRun !== true) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const [path, content] of written) writeAtomically(path, content.toString("utf8"));
  }
  const paths = written.map(([path]) => path);
  const said = options.dryRun === true ? "would write" : "wrote";
  process.stdout.write(
    options.output === "json"
      ? json({ dryRun: options.dryRun === true, written: paths, node: archive.facts.node })
      : `${said} ${paths.join(" and ")} of ${archive.facts.node.name}; its secrets are files that the settings name\n`,
  );
}

function backupKey(file: string): BackupKey {
  try {
    return readBackupKey(read(file));
  } catch (error) {
    throw error instanceof CliError ? error : new CliError(EXIT.usage, `${file}: ${messageOf(error)}`, error);
  }
}

function clusterKeyIn(file: string): Buffer {
  const content = read(file);
  try {
    readKeyRing(content.toString("utf8"));
    return content;
  } catch (error) {
    throw new CliError(EXIT.usage, `${file} ${messageOf(error)}`, error);
  }
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new CliError(EXIT.usage, `${file} can't be read: ${messageOf(error)}`, error);
  }
}

function writeBytes(file: string, content: Buffer): void {
  try {
    writeAtomically(file, content);
    // It may be all that is left one day: it is on the disk when we say so.
    const written = openSync(file, "r");
    fsyncSync(written);
    closeSync(written);
  } catch (error) {
    throw new CliError(EXIT.failed, `${file} can't be written: ${messageOf(error)}`, error);
  }
}

async function checked<T>(check: () => T | Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (error) {
    throw error instanceof BackupError ? new CliError(EXIT.failed, error.message, error) : error;
  }
}
