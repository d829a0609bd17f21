import { createHash } from "node:crypto";
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";

/** Numbers in [0, 1) that a seed repeats exactly (mulberry32): a failing round can be run again. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** `size` bytes without repetition at block borders, the same for the same seed: a block in the wrong place shows. */
export function bytes(size: number, seed: number | string = 1): Buffer {
  const out = Buffer.alloc(size);
  const key = `${seed}`;
  const span = 1 << 20;
  for (let at = 0, block = 0; at < size; at += span, block++) {
    const piece = createHash("shake256", { outputLength: Math.min(span, size - at) });
    piece.update(`${key}/${block}`).digest().copy(out, at);
  }
  return out;
}

export function sha256(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

export function sha256OfFileSync(path: string): string {
  return sha256(readFileSync(path));
}

/** Streams; for files of any size. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

/** Makes a local file of `bytes(size, seed)` and returns its content. */
export function writeContent(path: string, size: number, seed: number | string = path): Buffer {
  const content = bytes(size, seed);
  writeFileSync(path, content);
  return content;
}
