import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { parseLine } from "./chain.js";
import { AUDIT_KINDS, type AuditRecord } from "./contract.js";
import { listSegments } from "./files.js";

/** What to look for; absent: anything. All that are given must hold. */
export const auditQuerySchema = z.strictObject({
  account: z.string().max(128).optional(),
  /** An address. */
  client: z.string().max(64).optional(),
  kind: z.enum(AUDIT_KINDS).optional(),
  node: z.string().max(64).optional(),
  session: z.string().max(64).optional(),
  transfer: z.string().max(128).optional(),
  /** Not before, ISO 8601. */
  since: z.iso.datetime({ offset: true }).optional(),
  /** Before, ISO 8601. */
  until: z.iso.datetime({ offset: true }).optional(),
  /** A path, or the start of one: `/in` finds `/in/x`. */
  path: z.string().max(4_096).optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(100),
});
export type AuditQuery = z.infer<typeof auditQuerySchema>;

export interface Found {
  /** Newest first. */
  readonly records: readonly AuditRecord[];
  /** False: there is more, older than the last one, or the search gave up at its bound. */
  readonly complete: boolean;
}

/** Bytes that one search reads at most; a narrower time finds what lies behind. */
const MOST_READ_BYTES = 512 << 20;
/** Lines between two looks at everything else that the process does. */
const TURN = 500;

/** Searches what the nodes shipped to a site's audit directory, newest first. */
export async function searchAudit(
  directory: string,
  query: AuditQuery,
  signal: AbortSignal = new AbortController().signal,
): Promise<Found> {
  const budget = { bytes: MOST_READ_BYTES };
  const heads: { record: AuditRecord; rest: AsyncGenerator<AuditRecord> }[] = [];
  for (const chain of await chainsIn(directory)) {
    const rest = newestFirst(chain, query, budget, signal);
    const next = await rest.next();
    if (!next.done) heads.push({ record: next.value, rest });
  }
  const records: AuditRecord[] = [];
  while (heads.length > 0 && records.length < query.limit) {
    heads.sort((a, b) => (a.record.time < b.record.time ? 1 : a.record.time > b.record.time ? -1 : 0));
    const head = heads[0] as (typeof heads)[number];
    records.push(head.record);
    const next = await head.rest.next();
    if (next.done) heads.shift();
    else head.record = next.value;
  }
  return { records, complete: heads.length === 0 && budget.bytes > 0 && !signal.aborted };
}

/** Pure: whether a record is one that is looked for. */
export function matches(record: AuditRecord, query: AuditQuery): boolean {
  const { account, client, kind, node, session, transfer, path } = query;
  if (kind !== undefined && record.kind !== kind) return false;
  if (account !== undefined && record.who !== account) return false;
  if (client !== undefined && record.client !== client) return false;
  if (node !== undefined && record.node !== node) return false;
  if (session !== undefined && record.session !== session) return false;
  if (transfer !== undefined && record.transfer !== transfer) return false;
  if (path !== undefined && !below(record.path, path) && !below(record.target, path)) return false;
  return inTime(record, query);
}

function below(path: string | undefined, wanted: string): boolean {
  if (path === undefined) return false;
  return path === wanted || path.startsWith(wanted.endsWith("/") ? wanted : `${wanted}/`);
}

function inTime(record: AuditRecord, { since, until }: AuditQuery): boolean {
  const at = Date.parse(record.time);
  if (since !== undefined && at < Date.parse(since)) return false;
  return until === undefined || at < Date.parse(until);
}

async function chainsIn(directory: string): Promise<string[]> {
  if ((await listSegments(directory)).length > 0) return [directory];
  try {
    const found = await readdir(directory, { withFileTypes: true });
    return found.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** One node's records. A segment at a time is in memory; one that begins after `until` isn't looked through. */
async function* newestFirst(
  directory: string,
  query: AuditQuery,
  budget: { bytes: number },
  signal: AbortSignal,
): AsyncGenerator<AuditRecord> {
  const needles = needlesOf(query);
  for (const file of (await listSegments(directory)).reverse()) {
    if (budget.bytes <= 0 || signal.aborted) return;
    const content = await readFile(join(directory, file));
    budget.bytes -= content.length;
    const first = parseLine(content.toString("utf8", 0, Math.max(0, content.indexOf(0x0a))));
    const begin = first === undefined ? Number.NaN : Date.parse(first.time);
    if (query.until !== undefined && begin >= Date.parse(query.until)) continue;
    let looked = 0;
    for (const line of linesBackwards(content)) {
      looked += 1;
      // a node that searches serves partners, too
      if (looked % TURN === 0) await setImmediate();
      if (!needles.every((needle) => line.includes(needle))) continue;
      const record = parseLine(line);
      if (record !== undefined && matches(record, query)) yield record;
    }
    // older segments are older still; a clock that was set back by more than an hour hides what it wrote
    if (query.since !== undefined && begin + 3_600_000 < Date.parse(query.since)) return;
  }
}

/** Text that each line that matches holds: most lines needn't be parsed at all. */
function needlesOf({ account, client, kind, node, session, transfer }: AuditQuery): readonly string[] {
  const fields = { who: account, client, kind, node, session, transfer };
  return Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [`${JSON.stringify(name)}:${JSON.stringify(value)}`],
  );
}

function* linesBackwards(content: Buffer): Generator<string> {
  let end = content.lastIndexOf(0x0a);
  while (end > 0) {
    const before = content.lastIndexOf(0x0a, end - 1);
    yield content.toString("utf8", before + 1, end);
    end = before;
  }
}
