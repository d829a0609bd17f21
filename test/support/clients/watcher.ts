import type { Site } from "../site.js";
import { sha256 } from "./content.js";
import type { Partner } from "./partner.js";
import { type RawSftp, SftpStatus, Status } from "./raw-sftp.js";

interface Allowed {
  readonly sizes: Set<number>;
  readonly sums: Set<string>;
}

/**
 * Somebody of another account who lists the same home and reads its files all the time, on whatever node answers. Each
 * file that is seen must be one of the whole contents that were allowed for its name (P2).
 */
export class Watcher {
  looks = 0;
  private readonly allowed = new Map<string, Allowed>();
  private readonly violations: string[] = [];
  private stopped = false;
  private readonly watching: Promise<void>;

  /** `connect` gives a session of the watching account; called again, with the next number, when one is lost. */
  constructor(private readonly connect: (turn: number) => Promise<RawSftp>) {
    this.watching = this.watch();
  }

  /** Looks on through each of the nodes in turn. */
  static overNodes(site: Site, partner: Partner): Watcher {
    return new Watcher((turn) => partner.rawOn(turn % site.endpoints().nodes.length, { replyMs: 20_000 }));
  }

  /** From now on this name may hold any of these contents, and nothing else. */
  allow(path: string, ...contents: readonly Buffer[]): void {
    this.allowed.set(path, {
      sizes: new Set(contents.map(({ length }) => length)),
      sums: new Set(contents.map(sha256)),
    });
  }

  sawOnlyWholeFiles(): void {
    if (this.violations.length > 0) throw new Error(this.violations.slice(0, 10).join("\n"));
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.stopped = true;
    await this.watching;
  }

  private async watch(): Promise<void> {
    for (let turn = 0; !this.stopped; turn++) {
      let session: RawSftp | undefined;
      try {
        session = await this.connect(turn);
        while (!this.stopped) await this.look(session);
      } catch {
        // The node was killed, or isn't back yet: the next one.
        await new Promise((resolve) => setTimeout(resolve, 50));
      } finally {
        await session?.end();
      }
    }
  }

  private async look(session: RawSftp): Promise<void> {
    const newest = [...this.allowed.keys()].slice(-4);
    const directories = new Set(newest.map((path) => path.slice(0, path.lastIndexOf("/")) || "/"));
    for (const directory of directories) {
      let entries: Awaited<ReturnType<RawSftp["list"]>>;
      try {
        entries = await session.list(directory);
      } catch (error) {
        if (error instanceof SftpStatus && error.code === Status.NO_SUCH_FILE) continue;
        throw error;
      }
      for (const { name, attrs } of entries) {
        if (((attrs.mode ?? 0) & 0o170000) === 0o040000) continue;
        const path = `${directory === "/" ? "" : directory}/${name}`;
        const allowed = this.allowed.get(path);
        if (allowed === undefined) this.violations.push(`${path} is nobody's file`);
        else if (!allowed.sizes.has(attrs.size ?? -1))
          this.violations.push(`${path} was listed with ${attrs.size} bytes`);
      }
    }
    for (const path of newest) await this.read(session, path);
    this.looks++;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }

  private async read(session: RawSftp, path: string): Promise<void> {
    try {
      const content = await session.get(path);
      if (!this.allowed.get(path)?.sums.has(sha256(content))) {
        this.violations.push(`${path} was read with ${content.length} bytes that nobody sent as a whole`);
      }
    } catch (error) {
      if (error instanceof SftpStatus && error.code === Status.NO_SUCH_FILE) return;
      throw error;
    }
  }
}
