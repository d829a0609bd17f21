import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import { type Anchors, anchorsOf, anchorsSchema } from "#audit/anchors.js";
import { AUDIT_KINDS, AUDIT_ON_STORAGE, auditRecordSchema } from "#audit/contract.js";
import { auditQuerySchema, searchAudit } from "#audit/query.js";
import { type ChainFault, type ChainReport, type SiteReport, verifyAudit } from "#audit/verify.js";
import { askAdmin } from "../admin-client.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { json, table } from "../output.js";
import { adminAccess, siteEndpoints } from "../site-access.js";
import { answerAs, type ClientOptions, withSite } from "./shared.js";

interface VerifyFlags extends ClientOptions {
  readonly archived?: boolean;
  readonly anchors?: string;
}

interface SearchFlags extends ClientOptions {
  readonly files?: string;
  readonly account?: string;
  readonly client?: string;
  readonly kind?: string;
  readonly node?: string;
  readonly session?: string;
  readonly transfer?: string;
  readonly since?: string;
  readonly until?: string;
  readonly path?: string;
  readonly limit: string;
}

const foundSchema = z.looseObject({ records: z.array(auditRecordSchema), complete: z.boolean() });
const SEARCH_MS = 30_000;
const FILTERS = [
  "account",
  "client",
  "kind",
  "node",
  "session",
  "transfer",
  "since",
  "until",
  "path",
  "limit",
] as const;

export function addAuditCommands(program: Command): void {
  const audit = program.command("audit").description("the site's audit log: what happened, by whom, from where");
  withSite(
    audit
      .command("verify")
      .description("check every node's chain: lines, order, hashes, segments")
      .argument("[files]", `directory that holds the log (default: ${AUDIT_ON_STORAGE} on the site's storage)`)
      .option("--site", "the default, said aloud")
      .option("--anchors <file>", "an answer of GET /api/v1/audit/anchors, kept elsewhere (default: ask the site)")
      .option("--archived", "a chain's first segments may have been moved elsewhere"),
  ).action(verify);
  withSite(
    audit
      .command("search")
      .description("records of all nodes, newest first")
      .option("--account <name>", "account or administrator")
      .option("--client <address>", "the client's own address")
      .option("--kind <kind>", AUDIT_KINDS.join(", "))
      .option("--node <name>")
      .option("--session <id>")
      .option("--transfer <id>")
      .option("--since <time>", "not before: 2026-11-21T08:00:00Z, or 90s, 15m, 2h, 7d ago", timeOf)
      .option("--until <time>", "before", timeOf)
      .option("--path <path>", "this path, and what lies below it")
      .option("--limit <n>", "at most so many records", "100")
      .option("--files <directory>", "read the log there rather than ask the site"),
  ).action(search);
}

async function verify(files: string | undefined, flags: VerifyFlags): Promise<void> {
  const directory = files === undefined ? siteAudit(flags) : resolve(files);
  const anchors = await anchorsFor(files, flags);
  let report: SiteReport;
  try {
    report = await verifyAudit(directory, { archived: flags.archived === true, anchors });
  } catch (error) {
    throw new CliError(EXIT.notFound, `the audit log can't be read: ${messageOf(error)}`, error);
  }
  if (report.chains.length === 0) throw new CliError(EXIT.notFound, `there is no audit log in ${directory}`);
  process.stdout.write(flags.output === "json" ? json({ directory, ...report }) : reportText(directory, report));
  process.exitCode = report.whole ? EXIT.ok : EXIT.unhealthy;
}

/** From a file, else from the site; a log that lies elsewhere (an archive) is compared with a file alone. */
async function anchorsFor(files: string | undefined, flags: VerifyFlags): Promise<Anchors> {
  let answer: unknown;
  if (flags.anchors !== undefined) {
    try {
      answer = JSON.parse(readFileSync(flags.anchors, "utf8"));
    } catch (error) {
      throw new CliError(EXIT.usage, `--anchors: ${messageOf(error)}`, error);
    }
  } else if (files === undefined) {
    try {
      answer = await askAdmin(adminAccess(flags), "/api/v1/audit/anchors");
    } catch (error) {
      process.stderr.write(
        `newest lines that were cut off would not show: the site can't be asked (${messageOf(error)})\n`,
      );
    }
  }
  return answer === undefined ? new Map() : anchorsOf(answerAs(anchorsSchema, answer));
}

async function search(flags: SearchFlags): Promise<void> {
  const given = Object.fromEntries(FILTERS.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])));
  const query = auditQuerySchema.safeParse(given);
  if (!query.success) throw new CliError(EXIT.usage, z.prettifyError(query.error));
  const found =
    flags.files === undefined
      ? answerAs(
          foundSchema,
          await askAdmin(adminAccess(flags), `/api/v1/audit?${new URLSearchParams(given)}`, { timeoutMs: SEARCH_MS }),
        )
      : await searchAudit(resolve(flags.files), query.data);
  if (flags.output === "json") {
    process.stdout.write(json(found));
    return;
  }
  const rows = found.records.map(({ time, node, kind, who, client, what, outcome, path, target, bytes }) => [
    time,
    node,
    kind,
    who ?? "-",
    client ?? "-",
    `${what} ${outcome}`,
    [path, target].filter((part) => part !== undefined).join(" -> "),
    bytes === undefined ? "" : String(bytes),
  ]);
  process.stdout.write(table(["TIME", "NODE", "KIND", "WHO", "CLIENT", "WHAT", "PATH", "BYTES"], rows));
  const last = found.records.at(-1)?.time;
  if (!found.complete && last !== undefined) process.stderr.write(`there are older ones: add --until ${last}\n`);
}

/** On the storage of a site whose files are this host's. */
function siteAudit(flags: ClientOptions): string {
  const { path } = siteEndpoints(flags).storage;
  return join(path, AUDIT_ON_STORAGE);
}

function reportText(directory: string, { chains, repeats, whole }: SiteReport): string {
  const rows = chains.map(({ chain, node, segments, records, to, fault }) => [
    node ?? "-",
    chain,
    String(segments),
    String(records),
    String(to?.seq ?? "-"),
    fault === undefined ? "whole" : "BROKEN",
  ]);
  const said = [...chains.flatMap(wordsOf), ...repeatWords(repeats)].map((line) => `${line}\n`).join("");
  const verdict = whole ? "every chain is whole" : "the audit log is NOT whole";
  return `${table(["NODE", "CHAIN", "SEGMENTS", "RECORDS", "LAST", "STATE"], rows)}${said}${verdict}: ${directory}\n`;
}

function faultWords(name: string, { segment, line, fault, expected }: ChainFault): string {
  if (fault === "newest-missing")
    return `${name}: newest-missing: the store knows its line ${expected.seq}, and it isn't here: lines were cut off`;
  if (fault === "not-anchored")
    return `${name}: not-anchored: the store knows line ${expected.seq} by another hash: the chain was written anew`;
  if (fault === "anchor-damaged")
    return `${name}: anchor-damaged: what the store knows of it can't be read: newest lines that were cut off would not show`;
  return `${name}: ${segment} line ${line}: ${fault}; expected number ${expected.seq + 1} behind ${expected.hash}`;
}

function wordsOf({ chain, node, from, shortened, fault, setAside, lost, unfinishedBytes }: ChainReport): string[] {
  const name = node ?? chain;
  return [
    ...(shortened && fault === undefined ? [`${name}: begins at ${from?.seq}: older ones were removed`] : []),
    ...(fault === undefined ? [] : [faultWords(name, fault)]),
    ...setAside.map(
      (file) => `${name}: somebody changed a segment; the node kept it as ${file} and wrote the true one`,
    ),
    ...(lost === 0 ? [] : [`${name}: ${lost} records were lost while they could not be written (see kind "gap")`]),
    ...(unfinishedBytes === 0 ? [] : [`${name}: ${unfinishedBytes} bytes of a line that is being copied`]),
  ];
}

function repeatWords(repeats: SiteReport["repeats"]): string[] {
  return repeats.map(
    ({ op, transfer, path }) =>
      `on the record twice, happened once (its node died in between): ${path ?? ""} transfer ${transfer ?? "-"} op ${op}`,
  );
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** ISO 8601, or how long ago. */
function timeOf(value: string): string {
  const ago = /^(\d{1,6})([smhd])$/.exec(value);
  const at = ago === null ? Date.parse(value) : Date.now() - Number(ago[1]) * (UNITS[ago[2] ?? "s"] ?? 0);
  if (Number.isNaN(at))
    throw new InvalidArgumentError("a time is written 2026-11-21T08:00:00Z, or 15m for 15 minutes ago");
  return new Date(at).toISOString();
}
