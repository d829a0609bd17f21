import { createHash } from "node:crypto";
import { type AuditEntry, type AuditRecord, auditRecordSchema } from "./contract.js";

/** The pure part of the log: lines, and what makes each of them stand on the one before. */

/** Where a chain stands: the last line's number and hash. */
export interface ChainPosition {
  readonly seq: number;
  readonly hash: string;
}

export const CHAIN_START: ChainPosition = { seq: 0, hash: "0".repeat(64) };

/** A line longer than this loses its details, so that one record can't fill a reader's memory. */
export const MOST_LINE_BYTES = 65_536;

const SUM_DIGITS = 32;
const SUM_FIELD = /^,"sum":"([0-9a-f]{32})"\}$/;
const SUM_BYTES = ',"sum":""}'.length + SUM_DIGITS;

export interface SealedLine {
  /** Without the newline. */
  readonly line: string;
  readonly position: ChainPosition;
}

/** The next line of a chain. `at`: milliseconds since 1970. */
export function sealLine(entry: AuditEntry, before: ChainPosition, node: string, at: number): SealedLine {
  const seq = before.seq + 1;
  const head = { seq, prev: before.hash, time: new Date(at).toISOString(), node };
  let body = JSON.stringify({ ...head, ...entry });
  if (Buffer.byteLength(body) > MOST_LINE_BYTES) body = JSON.stringify({ ...head, ...shortened(entry) });
  const line = `${body.slice(0, -1)},"sum":"${sha256(body).slice(0, SUM_DIGITS)}"}`;
  return { line, position: { seq, hash: sha256(line) } };
}

export type LineFault =
  | "not-a-record"
  /** It was changed since it was written. */
  | "changed"
  /** Its number isn't the next one: a line is missing, doubled or out of place. */
  | "out-of-sequence"
  /** The line before isn't the one that it was written behind. */
  | "unlinked";

export type CheckedLine =
  | { readonly fault: LineFault }
  | { readonly fault?: undefined; readonly record: AuditRecord; readonly position: ChainPosition };

/**
 * Whether a line (its bytes, without the newline) is whole and follows `before`. `before` undefined: only whether it is
 * whole. Sums are over bytes: different bytes that aren't UTF-8 may decode to one and the same text.
 */
export function checkLine(line: Buffer, before: ChainPosition | undefined): CheckedLine {
  const at = Math.max(0, line.length - SUM_BYTES);
  const sum = SUM_FIELD.exec(line.toString("latin1", at));
  if (sum === null) return { fault: "not-a-record" };
  const found = createHash("sha256").update(line.subarray(0, at)).update("}").digest("hex");
  if (found.slice(0, SUM_DIGITS) !== sum[1]) return { fault: "changed" };
  const record = parseLine(line.toString("utf8"));
  if (record === undefined) return { fault: "not-a-record" };
  if (before !== undefined && record.seq !== before.seq + 1) return { fault: "out-of-sequence" };
  if (before !== undefined && record.prev !== before.hash) return { fault: "unlinked" };
  return { record, position: { seq: record.seq, hash: sha256(line) } };
}

/** Undefined where the line is no record at all. */
export function parseLine(line: string): AuditRecord | undefined {
  try {
    const parsed = auditRecordSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

export interface ScannedLines {
  /** Where the chain stands behind the last good line; undefined where there is none. */
  readonly position: ChainPosition | undefined;
  /** Bytes up to there. */
  readonly bytes: number;
  readonly records: number;
  /** What follows the good lines: nothing, an append cut short, or damage with whole lines behind it. */
  readonly rest: "none" | "torn" | "damaged";
}

/** Reads a segment as its node finds it after a restart. The first line is taken as the chain's word. */
export function scanSegment(content: Buffer): ScannedLines {
  let position: ChainPosition | undefined;
  let bytes = 0;
  let records = 0;
  for (const { line, end } of linesOf(content)) {
    const checked = checkLine(line, position);
    if (checked.fault !== undefined) break;
    position = checked.position;
    bytes = end;
    records += 1;
  }
  const left = content.subarray(bytes);
  const damaged = [...linesOf(left)].some(({ line }) => checkLine(line, undefined).fault === undefined);
  return { position, bytes, records, rest: left.length === 0 ? "none" : damaged ? "damaged" : "torn" };
}

/** Lines that end in a newline, without it, and the offset behind it. What follows the last newline is no line. */
export function* linesOf(content: Buffer): Generator<{ line: Buffer; end: number }> {
  let from = 0;
  for (;;) {
    const newline = content.indexOf(0x0a, from);
    if (newline === -1) return;
    yield { line: content.subarray(from, newline), end: newline + 1 };
    from = newline + 1;
  }
}

/** Details go first, then what a stranger can make long. */
function shortened(entry: AuditEntry): AuditEntry {
  const cut = (text: string | undefined) => text?.slice(0, 4_096);
  const short = { ...entry, path: cut(entry.path), target: cut(entry.target), who: cut(entry.who) };
  return { ...short, details: { left: "too long" } };
}

function sha256(text: string | Buffer): string {
  return createHash("sha256").update(text).digest("hex");
}
