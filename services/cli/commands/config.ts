import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { parse, stringify, YAMLParseError } from "yaml";
import { z } from "zod";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { cell, json, printable, table } from "../output.js";
import { adminAccess } from "../site-access.js";
import { readInput } from "./entries.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

const changeSchema = z.looseObject({
  entry: z.string(),
  change: z.enum(["add", "change", "remove"]),
  fields: z.array(z.looseObject({ field: z.string(), before: z.unknown().optional(), after: z.unknown().optional() })),
});
const planSchema = z.looseObject({
  revision: z.int(),
  changes: z.array(changeSchema),
  faults: z.array(z.looseObject({ path: z.string(), message: z.string() })).default([]),
});
type Plan = z.infer<typeof planSchema>;
const documentSchema = z.looseObject({ revision: z.int(), document: z.looseObject({}) });
const historySchema = z.looseObject({
  changes: z.array(
    z.looseObject({
      revision: z.int(),
      at: z.string(),
      by: z.string(),
      summary: z.string(),
      entries: z.array(z.string()),
    }),
  ),
});

interface DocumentOptions extends ClientOptions {
  readonly merge?: boolean;
  readonly dryRun?: boolean;
}

/** A document of thousands of entries takes the node some seconds. */
const APPLY_MS = 60_000;
const MOST_BYTES = 8 * 1024 * 1024;
const MERGE = "leave entries alone that the file doesn't name (default: remove them, in sections that it has)";

export function addConfigCommands(program: Command): void {
  const config = program.command("config").description("the whole site as one YAML document");
  withSite(
    config
      .command("get")
      .description("print the site's document, without secrets")
      .option("--hashes", "with the hashes of passwords and tokens, to move accounts to another site"),
  ).action(get);
  withSite(
    config
      .command("diff")
      .description("what applying a document would change")
      .argument("<file>", "- for standard input")
      .option("--merge", MERGE),
  ).action(diff);
  withSite(
    config
      .command("apply")
      .description("make the site what a document says, all of it or nothing")
      .argument("<file>", "- for standard input")
      .option("--merge", MERGE)
      .option("--dry-run", "only say what would change"),
  ).action(apply);
  withSite(config.command("history").description("the last 200 changes, newest first")).action(history);
  withSite(
    config
      .command("rollback")
      .description("make the configuration what it was at a revision of the history")
      .argument("<revision>", "see `longshore config history`", revisionOf)
      .option("--dry-run", "only say what would change"),
  ).action(rollback);
  withSite(
    config
      .command("rotate-key")
      .description("seal all secrets anew with the first key of the nodes' cluster key files"),
  ).action(rotateKey);
}

async function rotateKey(options: ClientOptions): Promise<void> {
  const request = { method: "POST", timeoutMs: APPLY_MS } as const;
  const answer = await askAdmin(adminAccess(options), "/api/v1/config/rotate-key", request);
  const { key, resealed } = answerAs(z.looseObject({ key: z.string(), resealed: z.int() }), answer);
  const text = `everything is sealed with the key ${key}; entries sealed anew: ${resealed}\n`;
  process.stdout.write(options.output === "json" ? json(answer) : text);
}

async function get(options: ClientOptions & { readonly hashes?: boolean }): Promise<void> {
  const path = `/api/v1/config${options.hashes === true ? "?hashes=true" : ""}`;
  const { document, revision } = answerAs(documentSchema, await askAdmin(adminAccess(options), path));
  if (options.output === "json") process.stdout.write(json(document));
  else process.stdout.write(`# longshore config get, revision ${revision}\n${stringify(document, { lineWidth: 0 })}`);
}

async function diff(file: string, options: DocumentOptions): Promise<void> {
  const plan = await planOf(file, options);
  show(plan, options);
  assertSound(plan);
}

async function apply(file: string, options: DocumentOptions): Promise<void> {
  if (options.dryRun === true) {
    await diff(file, options);
    return;
  }
  const request = { method: "PUT", body: readDocument(file), timeoutMs: APPLY_MS } as const;
  const answer = await askAdmin(adminAccess(options), `/api/v1/config?prune=${options.merge !== true}`, request);
  const applied = answerAs(planSchema, answer);
  show(applied, options);
  if (options.output === "text") process.stdout.write(`in force from revision ${applied.revision}\n`);
}

async function history(options: ClientOptions): Promise<void> {
  const { changes } = answerAs(historySchema, await askAdmin(adminAccess(options), "/api/v1/config/history"));
  if (options.output === "json") process.stdout.write(json(changes));
  else
    process.stdout.write(
      table(
        ["REVISION", "AT", "BY", "CHANGE"],
        changes.map(({ revision, at, by, summary }) => [String(revision), at, by, summary]),
      ),
    );
}

async function rollback(revision: number, options: DocumentOptions): Promise<void> {
  const body = { revision, dryRun: options.dryRun === true };
  const request = { method: "POST", body, timeoutMs: APPLY_MS } as const;
  const plan = answerAs(planSchema, await askAdmin(adminAccess(options), "/api/v1/config/rollback", request));
  show(plan, options);
  assertSound(plan);
  if (options.output === "text" && options.dryRun !== true) {
    process.stdout.write(`in force from revision ${plan.revision}\n`);
  }
}

async function planOf(file: string, options: DocumentOptions): Promise<Plan> {
  const request = { method: "POST", body: readDocument(file), timeoutMs: APPLY_MS } as const;
  const path = `/api/v1/config/diff?prune=${options.merge !== true}`;
  return answerAs(planSchema, await askAdmin(adminAccess(options), path, request));
}

function show(plan: Plan, options: ClientOptions): void {
  process.stdout.write(options.output === "json" ? json(plan) : rendered(plan));
}

/** `+` is added, `-` removed, `~` changed. */
export function rendered({ changes }: Pick<Plan, "changes">): string {
  if (changes.length === 0) return "nothing to change\n";
  const signs = { add: "+", change: "~", remove: "-" } as const;
  return changes
    .flatMap(({ entry, change, fields }) => [
      `${signs[change]} ${entry}\n`,
      ...(change === "remove"
        ? []
        : fields.map(({ field, before, after }) =>
            change === "add" ? `    ${field}: ${cell(after)}\n` : `    ${field}: ${cell(before)} -> ${cell(after)}\n`,
          )),
    ])
    .map((line) => `${printable(line.slice(0, -1))}\n`)
    .join("");
}

function assertSound({ faults }: Plan): void {
  if (faults.length === 0) return;
  const lines = faults.map(({ path, message }) => `\n  ${path}: ${message}`).join("");
  throw new CliError(EXIT.usage, `it would be refused:${lines}`);
}

/** Reads a document, and the files that its secrets are in. Throws a CliError that names the line. */
export function readDocument(file: string): unknown {
  const text = readInput(file);
  if (Buffer.byteLength(text) > MOST_BYTES) throw new CliError(EXIT.usage, `${file} has more than ${MOST_BYTES} bytes`);
  try {
    return withSecrets(parse(text, { maxAliasCount: 100 }), file === "-" ? process.cwd() : dirname(resolve(file)));
  } catch (error) {
    if (error instanceof YAMLParseError) throw new CliError(EXIT.usage, `${file}: ${error.message}`, error);
    throw error;
  }
}

const SECRET_SECTIONS = ["profiles", "keys", "certificates"];

/** `secretFile: <path>` of an entry, relative to the document, becomes `secret`. */
function withSecrets(document: unknown, directory: string): unknown {
  if (!isRecord(document)) return document;
  const sections = Object.entries(document).map(([name, section]) => {
    if (!SECRET_SECTIONS.includes(name) || !isRecord(section)) return [name, section] as const;
    const entries = Object.entries(section).map(([id, entry]) => {
      if (!isRecord(entry) || entry.secretFile === undefined) return [id, entry] as const;
      const { secretFile, ...rest } = entry;
      const at = resolve(directory, String(secretFile));
      return [id, { ...rest, secret: readSecret(at, name, id) }] as const;
    });
    return [name, Object.fromEntries(entries)] as const;
  });
  return Object.fromEntries(sections);
}

function readSecret(path: string, section: string, id: string): string {
  try {
    const text = readFileSync(path, "utf8");
    // A password's file ends with a newline that isn't meant; a key's own form ends with one.
    return section === "profiles" ? text.replace(/\r?\n$/, "") : text;
  } catch (error) {
    throw new CliError(EXIT.usage, `${section}/${id}.secretFile: ${path} can't be read: ${messageOf(error)}`, error);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function revisionOf(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new InvalidArgumentError("a revision, such as 42");
  return Number(text);
}
