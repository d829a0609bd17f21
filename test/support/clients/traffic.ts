import { bytes } from "./content.js";
import type { Ledger } from "./ledger.js";
import type { Partner } from "./partner.js";
import { Open, type RawSftp, SftpStatus, Status } from "./raw-sftp.js";
import type { Watcher } from "./watcher.js";

const PIECE = 32_768;
const PAUSE_MS = 250;
/** A site that is well takes the file in hand within this. */
const LAST_FILE_MS = 60_000;

export interface TrafficOptions {
  readonly partner: Partner;
  /** Where partners may log in, tried in turn. */
  readonly ports: readonly number[];
  readonly ledger: Ledger;
  readonly watcher: Watcher;
  /** An existing directory; all files go there. */
  readonly directory: string;
}

/**
 * A partner who sends one file after the other, whatever happens beside: when a connection is lost or an upload refused, the
 * file is resumed, by any node. What was acknowledged goes into the ledger; what a partial must hold (P3) is checked here.
 */
export class Traffic {
  #files = 0;
  #resumed = 0;
  /** When it was stopped (performance.now()). */
  #stoppedAt: number | undefined;
  #abandoned = false;
  #turn = 0;
  readonly #lost: string[] = [];
  readonly #sending: Promise<void>;

  constructor(private readonly options: TrafficOptions) {
    this.#sending = this.#send();
  }

  /** Files sent whole, and how often one of them had to be resumed. */
  get files(): number {
    return this.#files;
  }
  get resumed(): number {
    return this.#resumed;
  }

  /** Partials that held less than their client had been told. */
  get lost(): readonly string[] {
    return this.#lost;
  }

  /** Resolves once the file in hand is sent; rejects where no node takes it within a minute. Idempotent. */
  async stop(): Promise<void> {
    this.#stoppedAt ??= performance.now();
    await this.#sending;
  }

  /** Gives up the file in hand: for the end of a test, which may have failed and left a site that takes none. Never rejects. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    await this.stop().catch(() => undefined);
  }

  async #send(): Promise<void> {
    const { ledger, watcher, directory } = this.options;
    let session: RawSftp | undefined;
    for (let index = 0; this.#stoppedAt === undefined; index++) {
      const path = `${directory}/${index}`;
      const content = bytes(60_000 + ((index * 37_123) % 250_000), path);
      watcher.allow(path, content);
      let acknowledged = 0;
      const count = (end: number) => {
        acknowledged = Math.max(acknowledged, end);
      };
      for (let tries = 0; ; tries++) {
        try {
          session = session === undefined || session.isGone ? await this.#login() : session;
          if (tries > 0) this.#resumed++;
          if (await this.#sendFile(session, path, content, tries === 0, acknowledged, count)) break;
        } catch (error) {
          // A lost connection, a full storage, a site without quorum: this partner just goes on.
          if (this.#abandoned || performance.now() - (this.#stoppedAt ?? Number.POSITIVE_INFINITY) > LAST_FILE_MS) {
            await session?.end();
            throw new Error(`${path} couldn't be sent`, { cause: error });
          }
          if (session !== undefined && !session.isGone && tries % 4 === 3) await session.end();
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
      ledger.acknowledged(path, content);
      this.#files++;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    await session?.end();
  }

  #login(): Promise<RawSftp> {
    const { ports, partner } = this.options;
    const port = ports[this.#turn++ % ports.length];
    // A site without quorum answers an upload's CLOSE within 11 s; past that nobody is there.
    return partner.raw({ replyMs: 15_000, ...(port === undefined ? {} : { port }) });
  }

  /** True: the file is whole. `count` is told up to where the WRITEs were acknowledged. */
  async #sendFile(
    session: RawSftp,
    path: string,
    content: Buffer,
    first: boolean,
    acknowledged: number,
    count: (end: number) => void,
  ): Promise<boolean> {
    let from = 0;
    if (!first) {
      const size = await sizeOf(session, path);
      // A partial is shown one byte short, so the whole size means that an upload without its reply was committed.
      if (size === content.length) return true;
      from = Math.max(0, size);
      if (size < acknowledged - 1) this.#lost.push(`${path}: ${size} of ${acknowledged} bytes`);
    }
    const handle = await session.open(path, first ? Open.W | Open.C | Open.T : Open.W | Open.C);
    for (let at = from; at < content.length; at += PIECE) {
      const end = Math.min(at + PIECE, content.length);
      await session.write(handle, at, content.subarray(at, end));
      count(end);
    }
    await session.close(handle);
    return true;
  }
}

/** -1 where there is none. */
async function sizeOf(session: RawSftp, path: string): Promise<number> {
  try {
    return (await session.stat(path)).size ?? 0;
  } catch (error) {
    if (error instanceof SftpStatus && error.code === Status.NO_SUCH_FILE) return -1;
    throw error;
  }
}
