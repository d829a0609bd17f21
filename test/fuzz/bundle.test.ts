import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import tar from "tar-stream";
import { isSafePath, type Manifest, type ManifestFile, sumsOf } from "#cli/bundle/manifest.js";
import { BundleError, type ReadBundle, readBundle } from "#cli/bundle/read.js";

/** A bundle travels on disks and sticks: whatever comes back, nothing but what its manifest lists is ever taken from it. */

const RUNS = 400;
const TOP = "longshore-1-bundle";
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");

interface Content {
  readonly path: string;
  readonly content: Buffer;
}

interface TarEntry {
  readonly name: string;
  readonly content?: Buffer;
  readonly type?: tar.Headers["type"];
  readonly linkname?: string;
}

async function archive(entries: readonly TarEntry[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const { name, content = Buffer.alloc(0), type = "file", linkname } of entries) {
    const header: tar.Headers = {
      name,
      mtime: new Date(0),
      ...(type ? { type } : {}),
      ...(linkname ? { linkname } : {}),
    };
    if (type === "file") pack.entry(header, content);
    else pack.entry(header);
  }
  pack.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of pack) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function bundleEntries(files: readonly Content[], images: Buffer, change: Partial<Manifest> = {}): TarEntry[] {
  const packed = gzipSync(images);
  const all = [
    { path: "install.sh", content: Buffer.from("#!/bin/sh\n") },
    ...files,
    { path: "images.tar.gz", content: packed },
  ];
  const manifest: Manifest = {
    format: 1,
    version: "1",
    created: "2026-01-01T00:00:00Z",
    platform: "linux/amd64",
    images: [{ name: "a/b:1", id: `sha256:${"0".repeat(64)}`, bytes: 1 }],
    absent: [],
    profiles: null,
    imagesTarBytes: images.length,
    files: all.map(({ path, content }) => ({
      path,
      bytes: content.length,
      sha256: sha256(content),
      executable: false,
    })),
    ...change,
  };
  const text = Buffer.from(JSON.stringify(manifest));
  return [
    { name: `${TOP}/manifest.json`, content: text },
    { name: `${TOP}/SHA256SUMS`, content: Buffer.from(sumsOf(sha256(text), manifest)) },
    ...all.map(({ path, content }) => ({ name: `${TOP}/${path}`, content })),
  ];
}

const files = fc
  .uniqueArray(fc.record({ path: fc.stringMatching(/^[a-z]{1,8}$/), content: fc.uint8Array({ maxLength: 2_000 }) }), {
    selector: ({ path }) => path,
    maxLength: 5,
  })
  .map((list) => list.map(({ path, content }) => ({ path: `site/${path}`, content: Buffer.from(content) })));
const images = fc.uint8Array({ maxLength: 3_000 }).map((bytes) => Buffer.from(bytes));

async function* cut(bytes: Buffer, places: readonly number[]): AsyncGenerator<Buffer> {
  let from = 0;
  for (const to of [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)) {
    if (to > from) yield bytes.subarray(from, to);
    from = Math.max(from, to);
  }
  yield bytes.subarray(from);
}

/** Reads to the end, or says why not. Anything but a BundleError is a fault of ours, and so is a hang. */
async function read(bytes: Buffer, places: readonly number[] = []) {
  const taken = new Map<string, Buffer>();
  const sink = {
    file: async ({ path }: ManifestFile) => {
      assert.ok(isSafePath(path), path);
      const chunks: Buffer[] = [];
      return {
        write: async (chunk: Buffer) => void chunks.push(Buffer.from(chunk)),
        close: async () => void taken.set(path, Buffer.concat(chunks)),
      };
    },
  };
  let result: ReadBundle | BundleError;
  try {
    result = await readBundle(cut(bytes, places), sink);
  } catch (error) {
    if (!(error instanceof BundleError)) throw error;
    result = error;
  }
  return { result, taken };
}

async function refused(entries: readonly TarEntry[], said: RegExp): Promise<void> {
  const { result } = await read(await archive(entries));
  assert.ok(result instanceof BundleError, "it was taken");
  assert.match(result.message, said);
}

test("a bundle is read the same however it is cut, and all of it comes out", async () => {
  await fc.assert(
    fc.asyncProperty(files, images, fc.array(fc.nat(), { maxLength: 8 }), async (list, image, places) => {
      const bytes = await archive(bundleEntries(list, image));
      const { result, taken } = await read(bytes, places);
      assert.ok(!(result instanceof BundleError), String(result));
      assert.equal(result.sha256, sha256(bytes));
      for (const { path, content } of list) assert.deepEqual(taken.get(path), content);
    }),
    { numRuns: RUNS },
  );
});

test("after any change of bytes it is refused, or nothing that is taken from it has changed", async () => {
  const change = fc.record({ at: fc.nat(), to: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(files, images, fc.array(change, { minLength: 1, maxLength: 3 }), async (list, image, changes) => {
      const entries = bundleEntries(list, image);
      const bytes = await archive(entries);
      for (const { at, to } of changes) bytes[at % bytes.length] = to;
      const { result, taken } = await read(bytes);
      if (result instanceof BundleError) return;
      for (const { name, content } of entries.slice(2)) {
        assert.deepEqual(taken.get(name.slice(TOP.length + 1)), content);
      }
    }),
    { numRuns: RUNS * 2 },
  );
});

test("cut off anywhere before its last file's end it is refused", async () => {
  await fc.assert(
    fc.asyncProperty(files, images, fc.nat(), async (list, image, at) => {
      const bytes = await archive(bundleEntries(list, image));
      // Behind the last file come its padding and two blocks of zeros, which say nothing.
      const { result } = await read(bytes.subarray(0, at % (bytes.length - 1_536)));
      assert.ok(result instanceof BundleError);
    }),
    { numRuns: RUNS },
  );
});

test("any bytes at all are refused", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 4_000 }), async (bytes) => {
      assert.ok((await read(Buffer.from(bytes))).result instanceof BundleError);
    }),
    { numRuns: RUNS },
  );
});

test("an entry that the manifest doesn't list there is refused, whatever its name and kind", async () => {
  const odd = fc.record({
    name: fc.oneof(
      fc.constantFrom("../../etc/passwd", "/etc/passwd", `${TOP}/../x`, `${TOP}/site/a`, `${TOP}/install.sh`, TOP),
      fc.string({ minLength: 1, maxLength: 300 }),
    ),
    type: fc.constantFrom("file", "symlink", "link", "directory", "fifo", "character-device", "block-device" as const),
    linkname: fc.constantFrom("/etc/passwd", "../.."),
  });
  await fc.assert(
    fc.asyncProperty(files, odd, fc.nat(), async (list, entry, at) => {
      const entries = bundleEntries(list, Buffer.from("image"));
      const place = at % (entries.length + 1);
      const { type } = entry;
      const hostile: TarEntry = { ...entry, type: type as NonNullable<tar.Headers["type"]> };
      const { result } = await read(await archive([...entries.slice(0, place), hostile, ...entries.slice(place)]));
      assert.ok(result instanceof BundleError, `${entry.type} ${entry.name} was taken`);
    }),
    { numRuns: RUNS },
  );
});

test("a manifest that leads out of the directory is refused", async () => {
  const one = (path: string): ManifestFile => ({ path, bytes: 0, sha256: sha256(Buffer.alloc(0)), executable: false });
  for (const path of [
    "site/../../x",
    "/etc/passwd",
    "site//x",
    "site/./x",
    "site/-rf",
    "site/a b",
    "site/a\nb",
    "site/",
  ]) {
    const entries = bundleEntries([], Buffer.from("image"), {
      files: [one("install.sh"), one(path), one("images.tar.gz")],
    });
    await refused(entries, /isn't a path inside the bundle/);
  }
  const twice = { files: [one("install.sh"), one("site/a"), one("site/a"), one("images.tar.gz")] };
  await refused(bundleEntries([], Buffer.from("image"), twice), /listed twice/);
  const below = { files: [one("install.sh"), one("site/a"), one("site/a/b"), one("images.tar.gz")] };
  await refused(bundleEntries([], Buffer.from("image"), below), /below another file/);
});

test("images that unpack to more than the manifest says are refused before they are unpacked", async () => {
  const bomb = Buffer.alloc(64 * 1024 * 1024);
  const before = process.memoryUsage().arrayBuffers;
  await refused(bundleEntries([], bomb, { imagesTarBytes: 1_000 }), /unpacks to more than 1000 B/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 96 * 1024 * 1024);
  await refused(bundleEntries([], Buffer.from("image"), { imagesTarBytes: 1_000 }), /unpacks to 5 bytes/);
});

test("a header that would fill the memory is refused", async () => {
  const entries = await archive(bundleEntries([], Buffer.from("image")));
  const header = (await archive([{ name: "x" }])).subarray(0, 512);
  const long = Buffer.from(header);
  // A pax header that says it is 4 GiB long.
  long.write("x", 156, "latin1");
  long.write("37777777777\0", 124, "latin1");
  long.write("        ", 148, "latin1");
  const sum = long.reduce((total, byte) => total + byte, 0);
  long.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  let fed = 0;
  async function* endless() {
    yield long;
    yield entries;
    for (; fed < 2 ** 32; fed += 65_536) yield Buffer.alloc(65_536);
  }
  await assert.rejects(readBundle(endless()), BundleError);
  assert.ok(fed < 16 * 1024 * 1024, `${fed} bytes were read`);
});

test("a checksum, a size or a list that isn't the manifest's is refused", async () => {
  const list = [{ path: "site/a", content: Buffer.from("hello") }];
  const entries = bundleEntries(list, Buffer.from("image"));
  const replace = (end: string, content: string) =>
    entries.map((entry) => (entry.name.endsWith(end) ? { ...entry, content: Buffer.from(content) } : entry));
  await refused(replace("site/a", "jello"), /site\/a was altered/);
  await refused(replace("site/a", "hello!"), /6 bytes where the manifest lists 5/);
  const sums = String(entries[1]?.content);
  await refused(
    replace(
      "SHA256SUMS",
      sums.replace(/^./, (first) => (first === "0" ? "1" : "0")),
    ),
    /SHA256SUMS isn't that/,
  );
  await refused(entries.slice(0, -1), /ends before images\.tar\.gz/);
  await refused(entries.slice(1), /doesn't begin with a manifest/);
});
