import { readdir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type ChainPosition, checkLine } from "./chain.js";
import type { AuditEntry, AuditRecord } from "./contract.js";
import { listSegments, syncDirectory } from "./files.js";
import { NODE_ID, readLines } from "./lines.js";

/** Old segments leave the shared storage, oldest first, and the log says so itself: a chain may begin where it was cut. */

const position = z.object({ seq: z.int().min(0), hash: z.string() });
const detailsSchema = z.object({
  /** Where each chain that was ever cut begins from now on: behind this line. By node id. */
  chains: z.record(z.string(), position),
  /** What goes now, each with its last line: a removal that is broken off ends at one of them. */
  segments: z.array(position.extend({ chain: z.string(), file: z.string() })),
});
export type Retention = z.infer<typeof detailsSchema>;

/** In one run, so that its record is bounded; the rest goes with the next one. */
const MOST_SEGMENTS = 200;

const DAY_MS = 86_400_000;
/** Longer than a weekend without a record, and than the day after which a segment ends. */
const MOST_SILENCE_MS = 3 * DAY_MS;

/**
 * Before when everything is `days` old. Pure. Invariant: time passed only as far as the log itself shows it, by when its
 * segments were last written (`written`, milliseconds since 1970): a silence of all of them counts as three days at most.
 * So a clock that is years ahead, which one or two nodes can't tell from a right one, makes nothing older than three days.
 */
export function oldBefore(days: number, written: readonly number[], now: number): number {
  let left = days * DAY_MS;
  let at = now;
  for (const time of written.filter((each) => each < now).sort((a, b) => b - a)) {
    const passed = Math.min(at - time, MOST_SILENCE_MS);
    if (left <= passed) break;
    left -= passed;
    at = time;
  }
  return at - left;
}

/** When each segment of a site's log was last written, for `oldBefore`. */
export async function writtenAt(directory: string, signal: AbortSignal): Promise<number[]> {
  const written: number[] = [];
  for (const chain of (await readdir(directory)).filter((name) => NODE_ID.test(name))) {
    for (const file of await listSegments(join(directory, chain))) {
      signal.throwIfAborted();
      written.push((await stat(join(directory, chain, file))).mtimeMs);
    }
  }
  return written;
}

/** Undefined where nothing is old enough. `before`: milliseconds since 1970; a segment goes when its newest line is older. */
export async function planRetention(
  directory: string,
  before: number,
  signal: AbortSignal,
): Promise<Retention | undefined> {
  const chains: Record<string, ChainPosition> = {};
  const segments: Retention["segments"] = [];
  for (const chain of (await readdir(directory)).filter((name) => NODE_ID.test(name)).sort()) {
    const files = await listSegments(join(directory, chain));
    let begins: ChainPosition | undefined;
    // the newest one stays: it is where the chain goes on, or what is left of a node
    for (const file of files.slice(0, -1)) {
      signal.throwIfAborted();
      const path = join(directory, chain, file);
      if (segments.length >= MOST_SEGMENTS || (await stat(path)).mtimeMs >= before) break;
      const read = await readSegment(path, begins);
      // what is damaged is evidence
      if (read === undefined || read.newest >= before) break;
      begins = read.end;
      segments.push({ chain, file, ...read.end });
    }
    begins ??= files[0] === undefined ? undefined : await beginningOf(join(directory, chain, files[0]));
    if (begins !== undefined && begins.seq > 0) chains[chain] = begins;
  }
  return segments.length === 0 ? undefined : { chains, segments };
}

export function retentionRecord(retention: Retention, who: string, days: number): AuditEntry {
  return { kind: "retention", what: "removed", outcome: "ok", who, details: { days, ...retention } };
}

/** Only once the record is on the shared storage. One that is gone already is no fault. */
export async function removeSegments(directory: string, { segments }: Retention): Promise<void> {
  const touched = new Set<string>();
  for (const { chain, file } of segments) {
    await unlink(join(directory, chain, file)).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== "ENOENT") throw error;
    });
    touched.add(chain);
  }
  for (const chain of touched) await syncDirectory(join(directory, chain));
}

/** What a record of retention says; undefined where it is none. */
export function retentionIn(record: AuditRecord): Retention | undefined {
  return record.kind === "retention" ? detailsSchema.safeParse(record.details).data : undefined;
}

/** Whether a chain may begin behind this line. */
export function mayBegin(chain: string, behind: ChainPosition, retentions: readonly Retention[]): boolean {
  const same = (at: ChainPosition | undefined) => at?.seq === behind.seq && at.hash === behind.hash;
  return retentions.some(
    ({ chains, segments }) => same(chains[chain]) || segments.some((each) => each.chain === chain && same(each)),
  );
}

/** Undefined where a line of it isn't whole, or doesn't stand on the one before. */
async function readSegment(
  path: string,
  begins: ChainPosition | undefined,
): Promise<{ end: ChainPosition; newest: number } | undefined> {
  let end = begins;
  let newest = 0;
  for await (const { content, whole } of readLines(path)) {
    if (!whole) return undefined;
    const checked = checkLine(content, end);
    if (checked.fault !== undefined) return undefined;
    end = checked.position;
    newest = Math.max(newest, Date.parse(checked.record.time));
  }
  return end && { end, newest };
}

async function beginningOf(path: string): Promise<ChainPosition | undefined> {
  for await (const { content } of readLines(path)) {
    const checked = checkLine(content, undefined);
    if (checked.fault !== undefined) return undefined;
    return { seq: checked.record.seq - 1, hash: checked.record.prev };
  }
  return undefined;
}
