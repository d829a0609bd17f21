import fs from "node:fs/promises";
import { join } from "node:path";
import { asLongshoreError, systemCode } from "#lib/errors.js";
import type { TrialAct, TrialAnswer } from "../contract.js";

/** What a doctor that died has left is swept after so long. */
const LEFT_MS = 3_600_000;
const PREFIX = "trial-";
/** Of the note in the file: a node's name. */
const MAX_NOTE = 256;

/**
 * One node's half of a trial across nodes, on a file of its own in `directory`. Through the thread pool whatever the
 * storage: a mount that hangs is just what is looked for. Throws LongshoreError where the storage fails otherwise than
 * the trial asks for.
 */
export async function tryStorage(directory: string, name: string, act: TrialAct, note: string): Promise<TrialAnswer> {
  const path = join(directory, `${PREFIX}${name}`);
  const moved = `${path}.moved`;
  try {
    switch (act) {
      case "create": {
        await sweep(directory);
        const file = await fs.open(path, "wx", 0o600);
        try {
          await file.writeFile(note);
          await file.sync();
        } finally {
          await file.close();
        }
        return { outcome: "done" };
      }
      case "look":
        return { outcome: "done", ...(await read("note", path)), ...(await read("movedNote", moved)) };
      case "rename":
        await fs.rename(path, moved);
        return { outcome: "done" };
      case "remove":
        await Promise.all([path, moved].map((each) => fs.rm(each, { force: true })));
        return { outcome: "done" };
    }
  } catch (error) {
    if (systemCode(error) === "EEXIST") return { outcome: "exists" };
    if (systemCode(error) === "ENOENT") return { outcome: "missing" };
    throw asLongshoreError(error, `the storage can't be tried (${act})`);
  }
}

/** By opening, not by a stat: network file systems ask their server then, however young their caches are. */
async function read(field: "note" | "movedNote", path: string): Promise<Partial<Record<typeof field, string>>> {
  try {
    return { [field]: (await fs.readFile(path, "utf8")).slice(0, MAX_NOTE) };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return {};
    throw error;
  }
}

async function sweep(directory: string): Promise<void> {
  for (const name of await fs.readdir(directory)) {
    if (!name.startsWith(PREFIX)) continue;
    const path = join(directory, name);
    const stat = await fs.lstat(path).catch(() => undefined);
    if (stat !== undefined && Date.now() - stat.mtimeMs > LEFT_MS) await fs.rm(path, { force: true });
  }
}
