import { open, readdir, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { systemCode } from "#lib/errors.js";
import { parseSegmentFile } from "./contract.js";

/** The segments of a directory, in the order of their chain. None where the directory isn't there. */
export async function listSegments(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((file) => parseSegmentFile(file) !== undefined).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Makes names in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** How much of which segment is certainly on the shared storage. Only a hint: a lost one costs a comparison. */
const shippedSchema = z.strictObject({ file: z.string(), bytes: z.int().min(0) });
export type ShippedNote = z.infer<typeof shippedSchema>;

const SHIPPED = "shipped.json";

export async function readShippedNote(directory: string): Promise<ShippedNote | undefined> {
  try {
    return shippedSchema.parse(JSON.parse(await readFile(join(directory, SHIPPED), "utf8")));
  } catch {
    return undefined;
  }
}

export async function writeShippedNote(directory: string, note: ShippedNote): Promise<void> {
  const temporary = join(directory, `${SHIPPED}.new`);
  await writeFile(temporary, JSON.stringify(note), { mode: 0o600 });
  await rename(temporary, join(directory, SHIPPED));
}
