import { createReadStream } from "node:fs";
import { MOST_LINE_BYTES } from "./chain.js";

/** Of a chain's directory. */
export const NODE_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

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
