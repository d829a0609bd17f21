import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { CHAIN_START, type ChainPosition, checkLine, type LineFault, MOST_LINE_BYTES } from "./chain.js";
import { type AuditRecord, parseSegmentFile } from "./contract.js";
import { listSegments } from "./files.js";

export interface ChainFault {
  readonly segment: string;
  /** From 1. */
  readonly line: number;
  readonly fault:
    | LineFault
    /** A line was begun and not ended, and a later segment goes on. */
    | "cut-off"
    /** The segment's name says another first number than its first line. */
    | "misnamed"
    /** The chain's first segments aren't there. */
    | "no-beginning";
  readonly expected: ChainPosition;
}

export interface ChainReport {
  /** The directory's name: the node's id. */
  readonly chain: string;
  readonly node: string | undefined;
  readonly segments: number;
  readonly records: number;
  /** First and last good line. */
  readonly from: ChainPosition | undefined;
  readonly to: ChainPosition | undefined;
  /** The first bad line: what follows it isn't judged. */
  readonly fault: ChainFault | undefined;
  /** Bytes behind the newest segment's last whole line: an append or a copy under way. */
  readonly unfinishedBytes: number;
  /** Files that the node itself set aside as changed by somebody. */
  readonly setAside: readonly string[];
  /** Records that the node says it lost. */
  readonly lost: number;
}

/** A change to the storage that is on the record more than once: a crash between the record and the end of its commit. */
export interface Repeat {
  readonly op: string;
  readonly transfer: string | undefined;
  readonly path: string | undefined;
}

export interface SiteReport {
  readonly chains: readonly ChainReport[];
  readonly repeats: readonly Repeat[];
  /** No fault and nothing set aside or lost. Repeats and unfinished bytes are no faults. */
  readonly whole: boolean;
}

export interface VerifyOptions {
  /** The chain may begin with any number: its older segments were archived. */
  readonly archived?: boolean;
}

const NODE_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Changes whose repeat is noticed: a number each. */
const MOST_REMEMBERED = 5_000_000;

/** Checks each node's chain below a site's audit directory, or the one chain that a directory holds itself. */
export async function verifyAudit(directory: string, options: VerifyOptions = {}): Promise<SiteReport> {
  const repeats = new RepeatFinder();
  const own = await listSegments(directory);
  const nodes = own.length > 0 ? [] : (await readdir(directory)).filter((name) => NODE_ID.test(name)).sort();
  const chains: ChainReport[] = [];
  for (const chain of own.length > 0 ? [""] : nodes) {
    chains.push(await verifyChain(join(directory, chain), chain || directory, options, repeats));
  }
  const sound = ({ fault, setAside, lost }: ChainReport) => fault === undefined && setAside.length === 0 && lost === 0;
  return { chains, repeats: repeats.found, whole: chains.length > 0 && chains.every(sound) };
}

async function verifyChain(
  directory: string,
  chain: string,
  options: VerifyOptions,
  repeats: RepeatFinder,
): Promise<ChainReport> {
  const files = await listSegments(directory);
  const setAside = (await readdir(directory)).filter((file) => file.includes(".jsonl.damaged-"));
  let position: ChainPosition = CHAIN_START;
  let from: ChainPosition | undefined;
  let node: string | undefined;
  let records = 0;
  let lost = 0;
  let unfinishedBytes = 0;
  let fault: ChainFault | undefined;
  for (const [at, segment] of files.entries()) {
    const first = parseSegmentFile(segment)?.seq ?? 0;
    const archived = at === 0 && options.archived === true && first > 1;
    let line = 0;
    for await (const { content, whole } of readLines(join(directory, segment))) {
      if (!whole) {
        unfinishedBytes = content.length;
        if (at < files.length - 1) fault = { segment, line: line + 1, fault: "cut-off", expected: position };
        break;
      }
      line += 1;
      const checked = checkLine(content, archived && line === 1 ? undefined : position);
      const wrong = checked.fault ?? nameFault(line, first, checked.record, at);
      if (checked.fault !== undefined || wrong !== undefined) {
        const missing = wrong === "out-of-sequence" && at === 0 && line === 1;
        fault = { segment, line, fault: missing ? "no-beginning" : (wrong as ChainFault["fault"]), expected: position };
        break;
      }
      position = checked.position;
      from ??= position;
      node = checked.record.node;
      records += 1;
      if (checked.record.kind === "gap") lost += Number(checked.record.details?.records ?? 0);
      repeats.look(checked.record);
    }
    if (fault !== undefined) break;
  }
  const to = records === 0 ? undefined : position;
  return { chain, node, segments: files.length, records, from, to, fault, unfinishedBytes, setAside, lost };
}

function nameFault(line: number, first: number, record: AuditRecord, at: number): ChainFault["fault"] | undefined {
  if (line > 1) return record.kind === "segment" ? "out-of-sequence" : undefined;
  if (record.kind !== "segment") return "not-a-record";
  if (record.seq === first) return undefined;
  return at === 0 ? "misnamed" : "out-of-sequence";
}

/** A file's lines without their newlines; what follows the last newline comes with `whole` false. */
export async function* readLines(path: string): AsyncGenerator<{ content: Buffer; whole: boolean }> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let newline = data.indexOf(0x0a); newline !== -1; newline = data.indexOf(0x0a)) {
      yield { content: data.subarray(0, newline), whole: true };
      data = data.subarray(newline + 1);
    }
    // no line of ours is that long: it would only fill the memory
    if (data.length > 4 * MOST_LINE_BYTES) {
      yield { content: data.subarray(0, MOST_LINE_BYTES), whole: true };
      return;
    }
    rest = data;
  }
  if (rest.length > 0) yield { content: rest, whole: false };
}

/** Remembers changes by a number each: two different ones look alike once in many millions. */
class RepeatFinder {
  readonly found: Repeat[] = [];
  readonly #seen = new Set<number>();

  look({ op, transfer, path }: AuditRecord): void {
    if (op === undefined) return;
    const mark = createHash("sha256").update(op).digest().readUIntBE(0, 6);
    if (this.#seen.has(mark)) this.found.push({ op, transfer, path });
    else if (this.#seen.size < MOST_REMEMBERED) this.#seen.add(mark);
  }
}
