import { readFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { z } from "zod";
import { type AdminAccess, AdminError, askAdmin } from "../admin-client.js";
import { CliError, EXIT, messageOf } from "../errors.js";
import { answerAs } from "./shared.js";

/** What commands about one entry of the configuration share: read it, change it, write it against what was read. */
export const entrySchema = z.looseObject({ revision: z.int() });
export type Entry = z.infer<typeof entrySchema>;

export function entryPath(collection: string, name: string): string {
  return `/api/v1/${collection}/${encodeURIComponent(name)}`;
}

/** Undefined where there is none. */
export async function readEntry(access: AdminAccess, path: string): Promise<Entry | undefined> {
  try {
    return answerAs(entrySchema, await askAdmin(access, path));
  } catch (error) {
    if (error instanceof AdminError && error.status === 404) return undefined;
    throw error;
  }
}

/** Writes what was read and changed; refused (exit code 6) where somebody else changed it in between. */
export async function writeEntry(
  access: AdminAccess,
  path: string,
  before: Entry | undefined,
  fields: Readonly<Record<string, unknown>>,
): Promise<Entry> {
  const headers: Record<string, string> =
    before === undefined ? { "if-none-match": "*" } : { "if-match": `"${before.revision}"` };
  const { revision: _revision, ...rest } = before ?? {};
  return answerAs(entrySchema, await askAdmin(access, path, { method: "PUT", body: { ...rest, ...fields }, headers }));
}

/** A file, or standard input for `-`: secrets don't belong on the command line, where `ps` shows them. */
export function readInput(file: string): string {
  try {
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (error) {
    throw new CliError(EXIT.usage, `${file} can't be read: ${messageOf(error)}`, error);
  }
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("a whole number");
  return value;
}

/** Bytes, with K, M, G or T for powers of 1024. */
export function byteCount(text: string): number {
  const match = /^(\d{1,12})([KMGT]?)$/i.exec(text);
  const power = " KMGT".indexOf((match?.[2] || " ").toUpperCase());
  const bytes = Number(match?.[1]) * 1024 ** power;
  if (match === null || !Number.isSafeInteger(bytes)) throw new InvalidArgumentError("bytes, such as 500M or 2G");
  return bytes;
}
