import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Anchor, type Anchors, anchorFault } from "./anchors.js";
import { CHAIN_START, type ChainPosition, checkLine, type LineFault } from "./chain.js";
import { type AuditRecord, parseSegmentFile } from "./contract.js";
import { listSegments } from "./files.js";
import { NODE_ID, readLines } from "./lines.js";
import { mayBegin, type Retention, retentionIn } from "./retention.js";

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
    | "no-beginning"
    /** The store knows of newer lines: they were cut off. */
    | "newest-missing"
    /** The line that the store knows by its hash is another one here: the chain was written anew. */
    | "not-anchored"
    /** What the store knows of it can't be read: whether its newest lines were cut off can't be told. */
    | "anchor-damaged";
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
  /** Older segments were removed by the site's retention, which is on the record. */
  readonly shortened: boolean;
  /** What the store knows of it; absent: nothing, or nobody asked. */
  readonly anchor?: Anchor | undefined;
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
  /** As the store has them (`GET /api/v1/audit/anchors`). */
  readonly anchors?: Anchors;
}

/** A chain that doesn't begin with its first line, until a record of retention is found. */
interface Begun extends ChainReport {
  readonly behind: ChainPosition | undefined;
  readonly id: string;
  /** The first segment's file. */
  readonly first: string;
}

/** Changes whose repeat is noticed: a number each. */
const MOST_REMEMBERED = 5_000_000;

/** Checks each node's chain below a site's audit directory, or the one chain that a directory holds itself. */
export async function verifyAudit(directory: string, options: VerifyOptions = {}): Promise<SiteReport> {
  const repeats = new RepeatFinder();
  const own = await listSegments(directory);
  const nodes = own.length > 0 ? [] : (await readdir(directory)).filter((name) => NODE_ID.test(name)).sort();
  const retentions: Retention[] = [];
  const begun: Begun[] = [];
  for (const chain of own.length > 0 ? [""] : nodes) {
    begun.push(await verifyChain(join(directory, chain), chain, options, repeats, retentions));
  }
  const chains = begun.map((each) => judged(each, options, retentions));
  if (own.length === 0) {
    for (const [chain, anchor] of options.anchors ?? [])
      if (!nodes.includes(chain)) chains.push(lostChain(chain, anchor));
  }
  const sound = ({ fault, setAside, lost }: ChainReport) => fault === undefined && setAside.length === 0 && lost === 0;
  return { chains, repeats: repeats.found, whole: chains.length > 0 && chains.every(sound) };
}

async function verifyChain(
  directory: string,
  named: string,
  options: VerifyOptions,
  repeats: RepeatFinder,
  retentions: Retention[],
): Promise<Begun> {
  const id = named || basename(directory);
  const chain = named || directory;
  const anchor = options.anchors?.get(id);
  let anchored: ChainPosition | undefined;
  let behind: ChainPosition | undefined;
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
    // where it may begin is judged when all chains were read: one of them says what was removed
    const shortened = at === 0 && first > 1;
    let line = 0;
    for await (const { content, whole } of readLines(join(directory, segment))) {
      if (!whole) {
        unfinishedBytes = content.length;
        if (at < files.length - 1) fault = { segment, line: line + 1, fault: "cut-off", expected: position };
        break;
      }
      line += 1;
      const checked = checkLine(content, shortened && line === 1 ? undefined : position);
      const wrong = checked.fault ?? nameFault(line, first, checked.record, at);
      if (checked.fault !== undefined || wrong !== undefined) {
        const missing = wrong === "out-of-sequence" && at === 0 && line === 1;
        fault = { segment, line, fault: missing ? "no-beginning" : (wrong as ChainFault["fault"]), expected: position };
        break;
      }
      if (shortened && line === 1) behind = { seq: checked.record.seq - 1, hash: checked.record.prev };
      position = checked.position;
      if (position.seq === anchor?.seq) anchored = position;
      const retention = retentionIn(checked.record);
      if (retention !== undefined) retentions.push(retention);
      from ??= position;
      node = checked.record.node;
      records += 1;
      if (checked.record.kind === "gap") lost += Number(checked.record.details?.records ?? 0);
      repeats.look(checked.record);
    }
    if (fault !== undefined) break;
  }
  const to = records === 0 ? undefined : position;
  const off = anchor !== undefined && fault === undefined ? anchorFault(anchor, to, anchored) : undefined;
  if (off !== undefined)
    fault = { segment: files.at(-1) ?? "", line: 0, fault: off, expected: anchor as ChainPosition };
  if (fault === undefined && anchor === undefined && options.anchors?.has(id) === true)
    fault = { segment: files.at(-1) ?? "", line: 0, fault: "anchor-damaged", expected: position };
  const counts = { segments: files.length, records, unfinishedBytes, lost };
  return {
    chain,
    node,
    ...counts,
    from,
    to,
    fault,
    setAside,
    shortened: behind !== undefined,
    behind,
    id,
    first: files[0] ?? "",
    anchor,
  };
}

function judged(begun: Begun, { archived }: VerifyOptions, retentions: readonly Retention[]): ChainReport {
  const { behind, id, first, ...report } = begun;
  if (behind === undefined || archived === true || mayBegin(id, behind, retentions)) return report;
  return { ...report, fault: { segment: first, line: 1, fault: "no-beginning", expected: CHAIN_START } };
}

/** Of a chain that the store knows, and of which nothing is there. */
function lostChain(chain: string, anchor: Anchor | undefined): ChainReport {
  const what = anchor === undefined ? "anchor-damaged" : "newest-missing";
  const fault = { segment: "", line: 0, fault: what, expected: anchor ?? CHAIN_START } as const;
  const nothing = { segments: 0, records: 0, unfinishedBytes: 0, lost: 0, setAside: [], shortened: false };
  return { chain, node: anchor?.node, ...nothing, from: undefined, to: undefined, fault, anchor };
}

function nameFault(line: number, first: number, record: AuditRecord, at: number): ChainFault["fault"] | undefined {
  if (line > 1) return record.kind === "segment" ? "out-of-sequence" : undefined;
  if (record.kind !== "segment") return "not-a-record";
  if (record.seq === first) return undefined;
  return at === 0 ? "misnamed" : "out-of-sequence";
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
