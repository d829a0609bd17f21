import { sha256 } from "./content.js";
import type { RawSftp } from "./raw-sftp.js";

/** What clients were told: each upload that was acknowledged must be there for ever, whole (P1). */
export class Ledger {
  readonly #told = new Map<string, string>();
  #checked = 0;

  get size(): number {
    return this.#told.size;
  }

  acknowledged(path: string, content: Buffer): void {
    // A newer upload of a name stands at the end: it is what must be there, and unchecked.
    this.#told.delete(path);
    this.#told.set(path, sha256(content));
  }

  /** Reads the files that came since the last check. Throws with the first that is missing or differs. */
  async checkNew(session: RawSftp): Promise<void> {
    const entries = [...this.#told].slice(this.#checked);
    const end = this.#told.size;
    await check(session, entries);
    this.#checked = end;
  }

  /** Reads every file. */
  async checkAll(session: RawSftp): Promise<void> {
    await check(session, [...this.#told]);
  }
}

async function check(session: RawSftp, entries: readonly (readonly [string, string])[]): Promise<void> {
  for (const [path, sum] of entries) {
    const found = sha256(await session.get(path));
    if (found !== sum) throw new Error(`${path} was acknowledged, and holds other bytes now`);
  }
}
