import { bytes } from "./content.js";
import { Ledger } from "./ledger.js";
import type { Partner } from "./partner.js";
import { Open, type RawSftp } from "./raw-sftp.js";

/**
 * Partners at work, each with one session at a time: log in, send a file, log out, again. Unlike `Traffic` nobody tries twice:
 * every login and every transfer has to succeed.
 */

const PIECE = 32_768;

export interface BusyOptions {
  readonly partner: Partner;
  /** An existing directory; all files go there. */
  readonly directory: string;
  /** Sessions at a time that send small files, and those that send slowly for `longMs`. */
  readonly short: number;
  readonly long: number;
  readonly longMs: number;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export class Busy {
  readonly ledger = new Ledger();
  /** What went wrong, one line each. */
  readonly failures: string[] = [];
  transfers = 0;
  longTransfers = 0;
  /** The longest time that a login and a small file took. */
  slowestMs = 0;
  #stopped = false;
  readonly #working: Promise<void>[];

  constructor(private readonly options: BusyOptions) {
    const { short, long } = options;
    this.#working = [
      ...Array.from({ length: short }, (_, i) => this.#work(`short-${i}`, false, i)),
      ...Array.from({ length: long }, (_, i) => this.#work(`long-${i}`, true, i)),
    ];
  }

  /** Resolves when the files in hand are sent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#working);
  }

  async #work(name: string, long: boolean, place: number): Promise<void> {
    await sleep(place * 60);
    for (let round = 0; !this.#stopped; round++) {
      const path = `${this.options.directory}/${name}-${round}`;
      const content = bytes(long ? 1_048_576 : 40_000 + ((round * 37_123) % 60_000), path);
      const begun = performance.now();
      let step = "login";
      let session: RawSftp | undefined;
      try {
        session = await this.options.partner.raw({ replyMs: 30_000 });
        step = "transfer";
        const handle = await session.open(path, Open.W | Open.C | Open.T);
        const pieces = Math.ceil(content.length / PIECE);
        for (let at = 0; at < content.length; at += PIECE) {
          await session.write(handle, at, content.subarray(at, Math.min(at + PIECE, content.length)));
          if (long) await sleep(this.options.longMs / pieces);
        }
        await session.close(handle);
        this.ledger.acknowledged(path, content);
        step = "logout";
        await session.end();
        this.transfers++;
        if (long) this.longTransfers++;
        else this.slowestMs = Math.max(this.slowestMs, performance.now() - begun);
      } catch (error) {
        // A drain would wait for it.
        await session?.drop();
        this.failures.push(
          `${name} round ${round}, ${step}: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
      await sleep(long ? 100 : 1_500);
    }
  }
}
