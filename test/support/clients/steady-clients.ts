import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { sha256, sha256OfFileSync } from "./content.js";
import { type OpensshOptions, sftp } from "./openssh.js";
import type { Partner } from "./partner.js";
import { type Outcome, tell } from "./run.js";

/** How long a client that failed waits before its next run: a site that is down isn't asked a thousand times a second. */
const PAUSE_MS = 100;

/** What one client did over and over. */
export interface ClientRuns {
  readonly name: string;
  readonly runs: number;
  readonly longestMs: number;
}

/**
 * Real client programs that run again and again until they are stopped, each run judged: what must not fail while something
 * happens to the site. Nothing is tried twice here, as a nightly script tries nothing twice.
 */
export class SteadyClients {
  #stopped = false;
  readonly #failures: string[] = [];
  readonly #runs = new Map<string, { runs: number; longestMs: number }>();
  readonly #lanes: Promise<void>[] = [];

  /** `once` is one run, told its number; it throws, or gives the outcome of a program that must have ended with 0. */
  add(name: string, once: (turn: number) => Promise<Outcome | undefined>): void {
    this.#runs.set(name, { runs: 0, longestMs: 0 });
    this.#lanes.push(this.#lane(name, once));
  }

  /** OpenSSH's sftp that logs in, fetches this file and compares it; `also`: what else it does in that session. */
  addDownload(
    partner: Partner,
    name: string,
    file: { readonly path: string; readonly content: Buffer; readonly also?: readonly string[] },
    options: OpensshOptions = {},
  ): void {
    const sum = sha256(file.content);
    this.add(name, async () => {
      const outcome = await sftp(partner, [`get ${file.path} ${name}`, ...(file.also ?? [])], options);
      if (outcome.code === 0) assert.equal(sha256OfFileSync(partner.local(name)), sum);
      rmSync(partner.local(name), { force: true });
      return outcome;
    });
  }

  /** What failed so far, with all that the client said. */
  get failures(): readonly string[] {
    return this.#failures;
  }

  runs(): ClientRuns[] {
    return [...this.#runs].map(([name, { runs, longestMs }]) => ({ name, runs, longestMs }));
  }

  /** Runs that are whole, of all clients. */
  get count(): number {
    return this.runs().reduce((sum, { runs }) => sum + runs, 0);
  }

  /** Resolves when each client's run in hand has ended. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }

  async #lane(name: string, once: (turn: number) => Promise<Outcome | undefined>): Promise<void> {
    for (let turn = 0; !this.#stopped; turn++) {
      const begun = performance.now();
      try {
        const outcome = await once(turn);
        if (outcome !== undefined && outcome.code !== 0) throw new Error(tell(outcome));
        const ms = performance.now() - begun;
        const before = this.#runs.get(name) ?? { runs: 0, longestMs: 0 };
        this.#runs.set(name, { runs: before.runs + 1, longestMs: Math.max(before.longestMs, ms) });
      } catch (error) {
        const at = new Date().toISOString();
        this.#failures.push(`${at} ${name}, run ${turn}: ${error instanceof Error ? error.message : error}`);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
}
