import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createBackoff } from "#lib/backoff.js";
import { monotonicMs, pause } from "#lib/clock.js";
import { systemCode } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { ChainPosition } from "./chain.js";
import { readShippedNote, syncDirectory, writeShippedNote } from "./files.js";
import type { Spool, SpooledSegment } from "./spool.js";

export interface ShipperOptions {
  readonly spool: Pick<Spool, "segments" | "remove" | "onDurable" | "position">;
  /** The spool's directory. */
  readonly directory: string;
  /**
   * This node's own directory on the shared storage; undefined while that is away, or while this process can't be sure of
   * being its node's only one.
   */
  readonly target: () => string | undefined;
  readonly logger: Logger;
  /** Records of so long go into one round, in milliseconds. Default 500. */
  readonly gatherMs?: number;
  /** Called between any two steps; tests end the shipper there by throwing. */
  readonly step?: (name: ShipStep) => void;
}

export const SHIP_STEPS = ["made", "opened", "written", "synced", "noted", "removed"] as const;
export type ShipStep = (typeof SHIP_STEPS)[number];

export interface Shipper {
  start(): void;
  /** Durable on this node's disk, not yet on the shared storage. */
  unshippedBytes(): number;
  /** How long the oldest of those bytes has waited, in milliseconds; 0: nothing waits. */
  lagMs(): number;
  /** Up to where the chain is on the shared storage, and synced; undefined before the first round. */
  shippedPosition(): ChainPosition | undefined;
  /** Shipped segments that somebody else changed; each is kept beside the true one. */
  readonly damaged: number;
  /** One last round, at most `withinMs`. Idempotent, never rejects. */
  stop(withinMs?: number): Promise<void>;
}

const GATHER_MS = 500;
const STOP_MS = 3_000;
const CHUNK = 1 << 20;

/**
 * Copies durable bytes to the shared storage, in order: a shipped file is at any time a prefix of the segment on the node's
 * disk. After a crash its size says how far it came, so nothing is doubled or left out.
 */
export function createShipper(options: ShipperOptions): Shipper {
  return new SegmentShipper(options);
}

class SegmentShipper implements Shipper {
  readonly #options: ShipperOptions;
  readonly #stop = new AbortController();
  /** What this process knows to be on the storage and synced, by file. */
  readonly #shipped = new Map<string, number>();
  #running: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #waitingSince: number | undefined;
  #damaged = 0;
  #position: ChainPosition | undefined;
  #failing: string | undefined;
  #wake: (() => void) | undefined;

  constructor(options: ShipperOptions) {
    this.#options = options;
    options.spool.onDurable(() => {
      this.#waitingSince ??= monotonicMs();
      this.#wake?.();
    });
  }

  get damaged(): number {
    return this.#damaged;
  }

  shippedPosition(): ChainPosition | undefined {
    return this.#position;
  }

  unshippedBytes(): number {
    return this.#options.spool
      .segments()
      .reduce((sum, each) => sum + each.durableBytes - this.#shippedOf(each.file), 0);
  }

  lagMs(): number {
    return this.#waitingSince === undefined ? 0 : monotonicMs() - this.#waitingSince;
  }

  start(): void {
    if (this.unshippedBytes() > 0) this.#waitingSince ??= monotonicMs();
    this.#running ??= this.#run();
  }

  stop(withinMs = STOP_MS): Promise<void> {
    this.#stopping ??= (async () => {
      this.#stop.abort();
      this.#wake?.();
      const last = (async () => {
        await this.#running;
        await this.#round().catch(() => {});
      })();
      await Promise.race([last, pause(withinMs)]);
    })();
    return this.#stopping;
  }

  #shippedOf(file: string): number {
    return this.#shipped.get(file) ?? 0;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const backoff = createBackoff({ firstMs: 500, mostMs: 5_000 });
    while (!signal.aborted) {
      try {
        if (this.unshippedBytes() === 0 && this.#allOpen()) await this.#untilWoken();
        await pause(this.#options.gatherMs ?? GATHER_MS, signal);
        if (signal.aborted) return;
        await this.#round();
        backoff.reset();
        if (this.#failing !== undefined) this.#options.logger.info("the audit log reaches the shared storage again");
        this.#failing = undefined;
      } catch (error) {
        const why = String(error);
        if (this.#failing !== why) {
          this.#options.logger.warn("the audit log can't be put on the shared storage; it waits on this node", { why });
        }
        this.#failing = why;
        await backoff.wait(signal);
      }
    }
  }

  #allOpen(): boolean {
    return this.#options.spool.segments().every(({ closed }) => !closed);
  }

  async #untilWoken(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const nap = new AbortController();
    this.#wake = () => nap.abort();
    await pause(60_000, nap.signal);
    this.#wake = undefined;
  }

  async #round(): Promise<void> {
    const target = this.#options.target();
    if (target === undefined) return;
    const startedAt = monotonicMs();
    const position = this.#options.spool.position();
    for (const segment of this.#options.spool.segments()) await this.#ship(segment, target);
    // what became durable since has waited no longer than this round took
    this.#waitingSince = this.unshippedBytes() > 0 ? startedAt : undefined;
    this.#position = position;
  }

  async #ship(segment: SpooledSegment, target: string): Promise<void> {
    const { spool, directory, step } = this.#options;
    const { file, durableBytes, closed } = segment;
    const known = this.#shipped.get(file);
    if (known === undefined || known < durableBytes) {
      // until it is certain again: a round that fails leaves nobody knows how much
      this.#shipped.delete(file);
      // Not what they lie in: of a storage that isn't mounted only the bare mount point is there.
      for (const path of [dirname(target), target]) await makeDirectory(path);
      step?.("made");
      const from = known ?? (await this.#resume(segment, target));
      const handle = await open(join(target, file), constants.O_WRONLY | constants.O_CREAT, 0o640);
      try {
        if ((await handle.stat()).size !== from) throw new Error("a shipped segment isn't as long as it was left");
        if (from === 0) await syncDirectory(target);
        step?.("opened");
        await this.#copy(join(directory, file), handle, from, durableBytes);
        step?.("written");
        await handle.sync();
      } finally {
        await handle.close();
      }
      step?.("synced");
      await writeShippedNote(directory, { file, bytes: durableBytes });
      this.#shipped.set(file, durableBytes);
      step?.("noted");
    }
    if (!closed) return;
    await spool.remove(file);
    this.#shipped.delete(file);
    step?.("removed");
  }

  async #copy(from: string, to: FileHandle, offset: number, end: number): Promise<void> {
    const source = await open(from, "r");
    try {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - offset));
      for (let at = offset; at < end; ) {
        const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, end - at), at);
        if (bytesRead === 0) throw new Error("a segment of the spool is shorter than it was");
        for (let done = 0; done < bytesRead; ) {
          done += (await to.write(buffer, done, bytesRead - done, at + done)).bytesWritten;
        }
        at += bytesRead;
      }
    } finally {
      await source.close();
    }
  }

  /**
   * How much of a segment is already there. What a crash left behind the synced part is cut off and shipped again; a
   * difference within it is somebody's work: that file is kept under another name, and the true one is shipped anew.
   */
  async #resume({ file, durableBytes }: SpooledSegment, target: string): Promise<number> {
    const { directory, logger } = this.#options;
    const path = join(target, file);
    const there = await readIfThere(path);
    if (there === undefined) return 0;
    const own = (await readFile(join(directory, file))).subarray(0, durableBytes);
    const same = commonPrefix(own, there);
    if (same === there.length) return same;
    const note = await readShippedNote(directory);
    const synced = note?.file === file ? Math.min(note.bytes, durableBytes) : 0;
    if (same >= synced) {
      const handle = await open(path, "r+");
      try {
        await handle.truncate(same);
        await handle.sync();
      } finally {
        await handle.close();
      }
      return same;
    }
    this.#damaged += 1;
    const aside = `${file}.damaged-${Date.now()}`;
    logger.error("a shipped audit segment was changed by somebody: it is kept, and shipped anew", {
      segment: file,
      aside,
    });
    await rename(path, join(target, aside));
    return 0;
  }
}

function commonPrefix(a: Buffer, b: Buffer): number {
  const most = Math.min(a.length, b.length);
  if (a.subarray(0, most).equals(b.subarray(0, most))) return most;
  let at = 0;
  while (a[at] === b[at]) at += 1;
  return at;
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o750 });
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}
