import { createHash, type Hash } from "node:crypto";
import { finished, pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import tar, { type Entry } from "tar-stream";
import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { CliError, EXIT } from "../errors.js";
import { size } from "../output.js";
import {
  IMAGES,
  MANIFEST,
  MAX_MANIFEST_BYTES,
  type Manifest,
  type ManifestFile,
  manifestSchema,
  SUMS,
  sumsOf,
} from "./manifest.js";

/** The archive isn't what it says it is. The message says what is wrong, as the end of a sentence. */
export class BundleError extends CliError {
  constructor(message: string, cause?: unknown) {
    super(EXIT.failed, message, cause);
    this.name = "BundleError";
  }
}

/** What becomes of the content. Called in the archive's order, each call waits for the one before. */
export interface BundleSink {
  /** The manifest is known and makes sense; no file has come yet. What it throws ends the reading. */
  begin?(manifest: Manifest): Promise<void>;
  /** A file begins; its bytes go to what is returned. */
  file?(file: ManifestFile): Promise<FileSink>;
}

export interface FileSink {
  write(chunk: Buffer): Promise<void>;
  close(): Promise<void>;
}

export interface ReadBundle {
  readonly manifest: Manifest;
  /** Of the archive as a whole. */
  readonly sha256: string;
}

/**
 * Bytes that may come beyond the entries known so far: headers, and what is on its way to the reader. The tar library
 * gathers a long header in memory before it shows it, so nobody's header may be longer.
 */
const SLACK_BYTES = 4 * 1024 * 1024;
const BLOCK = 512;

/**
 * Reads a bundle that may come from anybody: each entry must be the plain file that the manifest lists at that place, with
 * that size and checksum. It reads once, holds a few chunks at most, and writes nothing by itself. Throws a BundleError;
 * only where it returns is any of the content to be trusted as whole (who made it is what its own checksum tells).
 */
export async function readBundle(chunks: AsyncIterable<Buffer>, sink: BundleSink = {}): Promise<ReadBundle> {
  const whole = createHash("sha256");
  const extract = tar.extract();
  const budget = { fed: 0, allowed: SLACK_BYTES };
  const feeding = pipeline(chunks, (source) => metered(source as AsyncIterable<Buffer>, whole, budget), extract);
  // The loop below hears of the same error.
  feeding.catch(() => {});
  let manifest: Manifest | undefined;
  try {
    let expected: Expected | undefined;
    for await (const entry of extract) {
      budget.allowed += 2 * BLOCK + sizeOf(entry);
      expected ??= { top: topOf(entry), next: 0 };
      if (manifest === undefined) {
        const content = await readSmall(entry, `${expected.top}/${MANIFEST}`, MAX_MANIFEST_BYTES);
        manifest = parseManifest(content);
        expected.sums = Buffer.from(sumsOf(digest(content), manifest));
        await sink.begin?.(manifest);
      } else if (expected.sums !== undefined) {
        const content = await readSmall(entry, `${expected.top}/${SUMS}`, expected.sums.length);
        if (!content.equals(expected.sums)) throw new BundleError(`${SUMS} isn't that of the manifest`);
        delete expected.sums;
      } else {
        const file = manifest.files[expected.next++];
        if (file === undefined) throw new BundleError("it holds more than its manifest lists");
        await readFile(entry, expected.top, file, manifest, sink);
      }
    }
    await feeding;
    if (manifest === undefined || expected === undefined) throw new BundleError("it is empty");
    const missing = expected.sums === undefined ? manifest.files[expected.next]?.path : SUMS;
    if (missing !== undefined) throw new BundleError(`it ends before ${missing}`);
    return { manifest, sha256: whole.digest("hex") };
  } catch (error) {
    extract.destroy();
    // An entry that the end of the input took away says no more than that: what fed it knows why.
    const destroyed = systemCode(error) === "STREAM_DESTROYED";
    throw asBundleError(destroyed ? await feeding.then(() => error).catch((why: unknown) => why) : error);
  }
}

interface Expected {
  readonly top: string;
  /** Index of the next file. */
  next: number;
  /** What SHA256SUMS must be, until it was seen. */
  sums?: Buffer;
}

async function* metered(chunks: AsyncIterable<Buffer>, whole: Hash, budget: { fed: number; readonly allowed: number }) {
  for await (const chunk of chunks) {
    whole.update(chunk);
    budget.fed += chunk.length;
    if (budget.fed > budget.allowed + chunk.length) throw new BundleError("it holds more than its manifest lists");
    yield chunk;
  }
}

function sizeOf(entry: Entry): number {
  const { size: bytes = -1, type, name } = entry.header;
  if (type !== "file" && type !== "contiguous-file") throw new BundleError(`${shown(name)} is a ${type}, not a file`);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw new BundleError(`${shown(name)} has no size`);
  return bytes;
}

/** The directory that all lies in, by the first entry. */
function topOf(entry: Entry): string {
  const [, top] = /^([\w][\w.+-]{0,99})\/manifest\.json$/.exec(entry.header.name) ?? [];
  if (top === undefined) throw new BundleError("it isn't a Longshore bundle: it doesn't begin with a manifest");
  return top;
}

async function readSmall(entry: Entry, name: string, most: number): Promise<Buffer> {
  checkHeader(entry, name);
  if (sizeOf(entry) > most) throw new BundleError(`${shown(name)} is too large`);
  const chunks: Buffer[] = [];
  for await (const chunk of entry) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function checkHeader(entry: Entry, name: string, bytes = sizeOf(entry)): void {
  if (entry.header.name !== name) {
    throw new BundleError(`${shown(entry.header.name)} is where the manifest lists ${name}`);
  }
  if (sizeOf(entry) !== bytes) {
    throw new BundleError(`${name} has ${sizeOf(entry)} bytes where the manifest lists ${bytes}`);
  }
}

async function readFile(entry: Entry, top: string, file: ManifestFile, manifest: Manifest, sink: BundleSink) {
  checkHeader(entry, `${top}/${file.path}`, file.bytes);
  const hash = createHash("sha256");
  const unpacked = file.path === IMAGES ? new Unpacked(manifest.imagesTarBytes) : undefined;
  const out = await sink.file?.(file);
  try {
    for await (const chunk of entry as AsyncIterable<Buffer>) {
      hash.update(chunk);
      await unpacked?.write(chunk);
      await out?.write(chunk);
    }
  } finally {
    await out?.close();
  }
  if (hash.digest("hex") !== file.sha256) throw new BundleError(`${file.path} was altered: its checksum is another`);
  await unpacked?.end();
}

/** Unpacks to nowhere, to see that what the engine will unpack is as large as the manifest says and no larger. */
class Unpacked {
  readonly #gunzip = createGunzip();
  readonly #done = finished(this.#gunzip);
  #bytes = 0;

  constructor(readonly expected: number) {
    this.#done.catch(() => {});
    this.#gunzip.on("data", (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes > expected)
        this.#gunzip.destroy(new BundleError(`${IMAGES} unpacks to more than ${size(expected)}`));
    });
  }

  async write(chunk: Buffer): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.#gunzip.write(chunk, (error) => (error == null ? resolve() : reject(error)));
    });
    // The callback of the chunk that broke it never comes.
    await Promise.race([written, this.#done]).catch((error: unknown) => Promise.reject(asUnpackError(error)));
  }

  async end(): Promise<void> {
    this.#gunzip.end();
    await this.#done.catch((error: unknown) => Promise.reject(asUnpackError(error)));
    if (this.#bytes !== this.expected) {
      throw new BundleError(`${IMAGES} unpacks to ${this.#bytes} bytes where the manifest lists ${this.expected}`);
    }
  }
}

function asUnpackError(error: unknown): BundleError {
  return error instanceof BundleError ? error : new BundleError(`${IMAGES} isn't what gzip wrote`, error);
}

function parseManifest(content: Buffer): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(content.toString("utf8"));
  } catch (error) {
    throw new BundleError("its manifest isn't JSON", error);
  }
  const format = typeof value === "object" && value !== null && "format" in value ? value.format : undefined;
  if (typeof format === "number" && format > 1)
    throw new BundleError("a later version of Longshore made it: use that one");
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [first] = parsed.error.issues;
  throw new BundleError(`its manifest isn't valid: ${z.core.toDotPath(first?.path ?? [])}: ${first?.message}`);
}

function asBundleError(error: unknown): unknown {
  if (error instanceof CliError || !(error instanceof Error)) return error;
  // The disk's failure, or the user's wish, says nothing of the archive.
  if ("syscall" in error || error.name === "AbortError") return error;
  // The first are the tar library's own words.
  if (error.message === "Unexpected end of data" || systemCode(error) === "STREAM_DESTROYED") {
    return new BundleError("it is truncated: it ends in the middle of a file", error);
  }
  return new BundleError("it isn't a tar archive, or was altered", error);
}

function digest(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A name from outside, for a terminal. */
function shown(name: string): string {
  return JSON.stringify(name.slice(0, 200)).slice(1, -1);
}
