import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import tar, { type Entry as TarEntry } from "tar-stream";
import { z } from "zod";
import { SCOPES } from "./contents.js";
import { BackupError } from "./errors.js";

/**
 * What is inside of a backup: a tar whose first file, `manifest.json`, names each other one with its size and SHA-256.
 * The encryption around it already finds every changed byte; the checksums also find a fault of ours, and let somebody
 * check the parts who has nothing but `tar` and `sha256sum`.
 */
export const PARTS = {
  /** The shared entries, a line of JSON each (contents.ts). */
  entries: "shared/entries.jsonl",
  nodeSettings: "node/settings.json",
  nodeId: "node/node-id",
  clusterKey: "secrets/cluster-key",
} as const;
const MANIFEST = "manifest.json";
const FORMAT = "longshore-backup";
const VERSION = 1;

/** What one archive may take in memory. */
export const MAX_ARCHIVE_BYTES = 1024 * 1024 * 1024;
const MAX_PARTS = 16;

const partSchema = z.strictObject({
  name: z.enum([PARTS.entries, PARTS.nodeSettings, PARTS.nodeId, PARTS.clusterKey]),
  bytes: z.int().min(0).max(MAX_ARCHIVE_BYTES),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export const factsSchema = z.strictObject({
  scope: z.enum(SCOPES),
  /** ISO 8601. */
  createdAt: z.iso.datetime(),
  /** Of Longshore, that made it. */
  software: z.string().max(64),
  site: z.strictObject({ name: z.string().max(64), id: z.string().max(64) }),
  node: z.strictObject({ name: z.string().max(64), id: z.string().max(64) }),
  /** Of the store that the entries show, whole; absent without shared data. */
  revision: z.int().min(0).optional(),
  entries: z.int().min(0).optional(),
});
export type Facts = z.infer<typeof factsSchema>;
const manifestSchema = factsSchema.extend({
  format: z.literal(FORMAT),
  version: z.literal(VERSION),
  parts: z.array(partSchema).max(MAX_PARTS),
});
export type Manifest = z.infer<typeof manifestSchema>;

export interface Archive {
  readonly facts: Facts;
  readonly parts: ReadonlyMap<string, Buffer>;
}

export async function pack(archive: Archive): Promise<Buffer> {
  const parts = [...archive.parts].map(([name, content]) => ({ name, bytes: content.length, sha256: sha256(content) }));
  const manifest = manifestSchema.parse({ format: FORMAT, version: VERSION, ...archive.facts, parts });
  const packer = tar.pack();
  const whole = collect(packer);
  const files = [[MANIFEST, Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)] as const, ...archive.parts];
  for (const [name, content] of files) {
    packer.entry({ name, mode: 0o600, mtime: new Date(manifest.createdAt) }, content);
  }
  packer.finalize();
  return await whole;
}

/** Checks all of it before it returns any of it. Throws `BackupError`. */
export async function unpack(bytes: Buffer): Promise<Archive> {
  const files = await readFiles(bytes);
  const text = files.get(MANIFEST);
  if (text === undefined) throw new BackupError("the backup has no manifest");
  const manifest = parseManifest(text);
  files.delete(MANIFEST);
  const parts = new Map<string, Buffer>();
  for (const part of manifest.parts) {
    const content = files.get(part.name);
    if (content === undefined) throw new BackupError(`${part.name} is missing in the backup`);
    if (content.length !== part.bytes || sha256(content) !== part.sha256) {
      throw new BackupError(`${part.name} isn't what the backup's manifest says`);
    }
    parts.set(part.name, content);
    files.delete(part.name);
  }
  const [stray] = files.keys();
  if (stray !== undefined) throw new BackupError(`${stray} isn't in the backup's manifest`);
  const { format: _format, version: _version, parts: _parts, ...facts } = manifest;
  return { facts, parts };
}

function parseManifest(text: Buffer): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text.toString("utf8"));
  } catch (error) {
    throw new BackupError("the backup's manifest isn't JSON", error);
  }
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new BackupError(`the backup's manifest isn't of this version: ${z.prettifyError(parsed.error)}`);
}

async function readFiles(bytes: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const extract = tar.extract();
  Readable.from([bytes]).pipe(extract);
  try {
    for await (const entry of extract as AsyncIterable<TarEntry>) {
      const { name, type } = entry.header;
      if (type !== "file" || files.has(name) || files.size > MAX_PARTS) {
        throw new BackupError(`${name} doesn't belong into a backup`);
      }
      files.set(name, await collect(entry));
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    throw new BackupError("the backup isn't a whole archive", error);
  }
  return files;
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
