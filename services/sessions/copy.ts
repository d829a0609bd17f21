import { LongshoreError } from "#lib/errors.js";
import type { FileHandle } from "./contract.js";

const STEP = 1 << 20;

/** copy-data: through this node's memory, one MiB at a time. Length 0: to the end of the source. The bytes copied. */
export async function copyBetween(
  from: FileHandle,
  fromOffset: number,
  length: number,
  to: FileHandle,
  toOffset: number,
): Promise<number> {
  if (!from.readable) throw new LongshoreError("permission-denied", "the source is not open for reading");
  if (!to.writable) throw new LongshoreError("permission-denied", "the target is not open for writing");
  if (from === to) throw new LongshoreError("invalid-argument", "a file can't be copied into itself");
  let copied = 0;
  while (length === 0 || copied < length) {
    const want = length === 0 ? STEP : Math.min(STEP, length - copied);
    // a buffer a step: the target keeps it until it is written
    const buffer = Buffer.allocUnsafe(want);
    const bytes = await new Promise<number>((resolve, reject) => {
      from.read(fromOffset + copied, [buffer], (error, read) => (error ? reject(error) : resolve(read)));
    });
    if (bytes === 0) break;
    await new Promise<void>((resolve, reject) => {
      to.write(toOffset + copied, [buffer.subarray(0, bytes)], (error) => (error ? reject(error) : resolve()));
    });
    copied += bytes;
  }
  return copied;
}
