import { type FileHandle, mkdir, open, readFile, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { createBackoff } from "#lib/backoff.js";
import { deadline, monotonicMs, pause } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import { CHAIN_START, type ChainPosition, scanSegment, sealLine } from "./chain.js";
import { type AuditEntry, type AuditSink, segmentFile } from "./contract.js";
import { listSegments, removeIfThere, syncDirectory } from "./files.js";

export interface SpoolOptions {
  /** On the node's own disk, this process's alone. */
  readonly directory: string;
  readonly node: string;
  readonly nodeId: string;
  /** Names this process in its segments' names: [a-z0-9.], never used before on this node. */
  readonly life: string;
  readonly version: string;
  readonly logger: Logger;
  /** A segment that has so many bytes gets no more lines. Default 16 MiB. */
  readonly segmentBytes?: number;
  /** A segment this old gets no more lines, in milliseconds. Default a day. */
  readonly segmentMs?: number;
  /** Bytes of segments on this disk past which nothing more is written there. Default 1 GiB. */
  readonly mostBytes?: number;
  /** Records that wait for the disk in memory. Default 50,000. */
  readonly mostWaiting?: number;
  /** Calls fdatasync; tests let it fail. */
  readonly sync?: (file: FileHandle) => Promise<void>;
}

/** A segment as the shipper sees it. */
export interface SpooledSegment {
  readonly file: string;
  /** Bytes of whole lines that are certainly on the disk: what may be shipped. */
  readonly durableBytes: number;
  /** Since the oldest byte was written that the shipper may not have, monotonic milliseconds. */
  readonly closed: boolean;
}

export interface Spool extends AuditSink {
  /** In chain order. */
  segments(): readonly SpooledSegment[];
  /** The segment is on the shared storage, whole: it leaves this disk. Never the one that is written. */
  remove(file: string): Promise<void>;
  /** Calls back after each group that was made durable. */
  onDurable(callback: () => void): void;
  /** Where the chain stands on this disk. */
  position(): ChainPosition;
  readonly bytes: number;
  readonly records: number;
  readonly dropped: number;
  /** Damage that was found in segments of this node. */
  readonly chainErrors: number;
  /** Why nothing can be recorded now; undefined while all is well. */
  problem(): string | undefined;
  /** Writes what waits, then the end. Idempotent, never rejects. */
  close(): Promise<void>;
}

const SEGMENT_BYTES = 16 << 20;
const SEGMENT_MS = 86_400_000;
const MOST_BYTES = 1 << 30;
const MOST_WAITING = 50_000;
/** So many lines a write: a group's callers wait for all of it. */
const GROUP = 512;
/** Records that nobody waits for are gathered so long: many small downloads share a write and a sync. */
const GATHER_MS = 20;
const DURABLE_MS = 5_000;
const CLOSE_MS = 3_000;

interface Waiting {
  readonly entry: AuditEntry;
  readonly at: number;
  readonly done: (() => void) | undefined;
}

interface Current {
  readonly file: string;
  readonly handle: FileHandle;
  readonly openedAt: number;
  bytes: number;
}

/** Opens the chain where this node's last process left it. Throws the system's error. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const spool = new DiskSpool(options);
  await spool.open();
  return spool;
}

class DiskSpool implements Spool {
  readonly #options: SpoolOptions;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  readonly #callbacks: (() => void)[] = [];
  readonly #sizes = new Map<string, number>();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #gathering: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #current: Current | undefined;
  #position: ChainPosition = CHAIN_START;
  #before: { file: string; bytes: number; rest: string } | undefined;
  #problem: string | undefined;
  #records = 0;
  #dropped = 0;
  #untold = 0;
  #chainErrors = 0;

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#logger = options.logger;
  }

  get bytes(): number {
    let sum = 0;
    for (const size of this.#sizes.values()) sum += size;
    return sum;
  }

  get records(): number {
    return this.#records;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get chainErrors(): number {
    return this.#chainErrors;
  }

  problem(): string | undefined {
    return this.#problem;
  }

  position(): ChainPosition {
    return this.#position;
  }

  onDurable(callback: () => void): void {
    this.#callbacks.push(callback);
  }

  segments(): readonly SpooledSegment[] {
    return [...this.#sizes].map(([file, durableBytes]) => ({
      file,
      durableBytes,
      closed: file !== this.#current?.file,
    }));
  }

  async remove(file: string): Promise<void> {
    if (file === this.#current?.file) return;
    await removeIfThere(join(this.#options.directory, file));
    this.#sizes.delete(file);
  }

  async open(): Promise<void> {
    const { directory } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const files = await listSegments(directory);
    await this.#recover(files);
    for (const file of files) {
      if (!this.#sizes.has(file)) this.#sizes.set(file, (await stat(join(directory, file))).size);
    }
    await this.#beginSegment();
  }

  record(entry: AuditEntry): void {
    this.#enqueue(entry, undefined);
  }

  async recordDurably(entry: AuditEntry, withinMs = DURABLE_MS): Promise<void> {
    const patience = deadline(withinMs);
    const durable = new Promise<"durable" | "dropped">((resolve) => {
      if (!this.#enqueue(entry, () => resolve("durable"))) resolve("dropped");
    });
    const outcome = await Promise.race([durable, patience.passed]);
    patience.clear();
    if (outcome !== "durable") {
      throw new LongshoreError(
        "unavailable",
        `it can't be put on the audit record now: ${this.#problem ?? "the disk is slow"}`,
      );
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #enqueue(entry: AuditEntry, done: (() => void) | undefined): boolean {
    if (this.#closing !== undefined || this.#waiting.length >= (this.#options.mostWaiting ?? MOST_WAITING)) {
      if (this.#untold === 0)
        this.#logger.error("audit records are lost: they can't be written", { why: this.#problem ?? "closed" });
      this.#dropped += 1;
      this.#untold += 1;
      return false;
    }
    this.#waiting.push({ entry, at: Date.now(), done });
    if (done !== undefined || this.#waiting.length >= GROUP) this.#start();
    else if (this.#running === undefined) this.#gather();
    return true;
  }

  #gather(): void {
    this.#gathering ??= setTimeout(() => this.#start(), GATHER_MS);
  }

  #start(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // callers of one turn of the event loop share a group
    await Promise.resolve();
    const backoff = createBackoff({ firstMs: 100, mostMs: 2_000 });
    // the first group takes what was gathered
    for (let isDue = true; isDue && !this.#stop.signal.aborted; isDue = this.#isDue()) {
      const group = this.#waiting.slice(0, GROUP);
      try {
        this.#checkRoom();
        await this.#rollWhereDue();
        await this.#write(group);
      } catch (error) {
        const why =
          error instanceof LongshoreError ? error.message : `the audit spool can't be written (${String(error)})`;
        if (this.#problem !== why) this.#logger.error("nothing can be put on the audit record", { why });
        this.#problem = why;
        await backoff.wait(this.#stop.signal);
        continue;
      }
      if (this.#problem !== undefined) this.#logger.info("the audit record goes on", { waiting: this.#waiting.length });
      this.#problem = undefined;
      backoff.reset();
      this.#waiting.splice(0, group.length);
      for (const { done } of group) done?.();
      for (const callback of this.#callbacks) callback();
    }
    this.#running = undefined;
    if (this.#waiting.length > 0 && this.#closing === undefined) this.#gather();
  }

  /** Whether what waits shall be written without waiting for more. */
  #isDue(): boolean {
    const waiting = this.#waiting;
    if (waiting.length === 0) return false;
    if (this.#problem !== undefined || this.#closing !== undefined || waiting.length >= GROUP) return true;
    return waiting.some(({ done }) => done !== undefined);
  }

  #checkRoom(): void {
    const most = this.#options.mostBytes ?? MOST_BYTES;
    if (this.bytes < most) return;
    throw new LongshoreError(
      "no-space",
      `the audit spool holds ${most} bytes that aren't on the shared storage yet: mend the storage`,
    );
  }

  async #rollWhereDue(): Promise<void> {
    const { segmentBytes = SEGMENT_BYTES, segmentMs = SEGMENT_MS } = this.#options;
    const current = this.#current;
    if (current === undefined) return await this.#beginSegment();
    if (current.bytes < segmentBytes && monotonicMs() - current.openedAt < segmentMs) return;
    this.#current = undefined;
    this.#before = { file: current.file, bytes: current.bytes, rest: "none" };
    await current.handle.close();
    await this.#beginSegment();
  }

  /** Appends and makes durable, or leaves the chain as it was. */
  async #write(group: readonly Waiting[]): Promise<void> {
    const current = this.#current as Current;
    let position = this.#position;
    const lines: string[] = [];
    const add = (entry: AuditEntry, at: number) => {
      const sealed = sealLine(entry, position, this.#options.node, at);
      position = sealed.position;
      lines.push(sealed.line, "\n");
    };
    const untold = this.#untold;
    if (untold > 0) {
      add({ kind: "gap", what: "records lost", outcome: "failed", details: { records: untold } }, Date.now());
    }
    for (const { entry, at } of group) add(entry, at);
    const content = Buffer.from(lines.join(""));
    try {
      await writeAll(current.handle, content, current.bytes);
    } catch (error) {
      // what may have arrived of it must not stand behind the last whole line
      await current.handle.truncate(current.bytes).catch(() => this.#abandon(current));
      throw error;
    }
    try {
      await (this.#options.sync ?? datasync)(current.handle);
    } catch (error) {
      // a failed fsync says nothing of what is on the disk, and a second one would succeed for the wrong reason
      await this.#abandon(current);
      throw error;
    }
    current.bytes += content.length;
    this.#sizes.set(current.file, current.bytes);
    this.#position = position;
    this.#untold -= untold;
    this.#records += lines.length / 2;
  }

  /** The segment ends with its last durable line; the next write begins another. */
  async #abandon(current: Current): Promise<void> {
    this.#current = undefined;
    this.#before = { file: current.file, bytes: current.bytes, rest: "abandoned" };
    await current.handle.truncate(current.bytes).catch(() => {});
    await current.handle.close().catch(() => {});
  }

  async #beginSegment(): Promise<void> {
    const { directory, node, nodeId, life, version } = this.#options;
    const before = this.#position;
    const file = segmentFile({ seq: before.seq + 1, life });
    const previous = this.#before && { segment: this.#before.file, bytes: this.#before.bytes, end: this.#before.rest };
    const details = { nodeId, life, version, seq: before.seq, hash: before.hash, ...(previous && { previous }) };
    const { line, position } = sealLine(
      { kind: "segment", what: "begins", outcome: "ok", details },
      before,
      node,
      Date.now(),
    );
    const content = Buffer.from(`${line}\n`);
    // not `wx`: our own try before this one may have left it
    const handle = await open(join(directory, file), "w", 0o600);
    try {
      await writeAll(handle, content, 0);
      await (this.#options.sync ?? datasync)(handle);
      await syncDirectory(directory);
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.#current = { file, handle, openedAt: monotonicMs(), bytes: content.length };
    this.#sizes.set(file, content.length);
    this.#position = position;
    this.#records += 1;
    for (const callback of this.#callbacks) callback();
  }

  /** Finds the chain's end in the newest segment that has one whole line, and cuts an append that was cut short. */
  async #recover(files: string[]): Promise<void> {
    const { directory } = this.#options;
    for (let file = files.at(-1); file !== undefined; file = files.at(-1)) {
      const path = join(directory, file);
      const found = scanSegment(await readFile(path));
      if (found.rest === "damaged") {
        this.#chainErrors += 1;
        this.#logger.error("an audit segment is damaged: it is kept as it is", {
          segment: file,
          goodBytes: found.bytes,
        });
      }
      if (found.position !== undefined) {
        if (found.rest === "torn") await truncate(path, found.bytes);
        if (found.rest !== "damaged") this.#sizes.set(file, found.bytes);
        this.#position = found.position;
        this.#before = { file, bytes: found.bytes, rest: found.rest };
        return;
      }
      // a segment whose first line never reached the disk: nobody was told of anything in it
      if (found.rest !== "damaged") await removeIfThere(path);
      files.pop();
    }
  }

  async #close(): Promise<void> {
    if (this.#waiting.length > 0) this.#start();
    await Promise.race([this.#running, pause(CLOSE_MS)]);
    this.#stop.abort();
    await this.#running;
    const left = this.#waiting.length;
    if (left > 0)
      this.#logger.error("audit records are lost: they could not be written before the end", { records: left });
    await this.#current?.handle.close().catch(() => {});
  }
}

async function writeAll(handle: FileHandle, content: Buffer, at: number): Promise<void> {
  for (let done = 0; done < content.length; ) {
    const { bytesWritten } = await handle.write(content, done, content.length - done, at + done);
    done += bytesWritten;
  }
}

function datasync(handle: FileHandle): Promise<void> {
  return handle.datasync();
}
