import type { RawSftp } from "./raw-sftp.js";

export interface LoginTimes {
  readonly logins: number;
  readonly medianMs: number;
  /** The gap that a new session sees: how long the unluckiest partner tried. */
  readonly worstMs: number;
}

/** How long one try may take before an impatient partner begins another. */
const TRY_MS = 5_000;
const LANES = 2;
const PAUSE_MS = 20;

/** Partners who log in again and again, each trying until it works: what a fault costs new sessions. */
export class LoginProbe {
  readonly #times: { begun: number; ms: number }[] = [];
  readonly #lanes: Promise<void>[];
  #stopped = false;
  #abandoned = false;

  /** `login` is one try; `turn` counts a partner's own tries from 0, so that it can go to another address. */
  constructor(login: (turn: number, deadlineMs: number) => Promise<RawSftp>) {
    this.#lanes = Array.from({ length: LANES }, () => this.#lane(login));
  }

  async #lane(login: (turn: number, deadlineMs: number) => Promise<RawSftp>): Promise<void> {
    while (!this.#stopped) {
      const begun = performance.now();
      for (let turn = 0; ; turn++) {
        const session = await login(turn, TRY_MS).catch(() => undefined);
        if (session !== undefined) {
          this.#times.push({ begun, ms: performance.now() - begun });
          await session.end();
          break;
        }
        if (this.#abandoned) return;
        if (this.#stopped && performance.now() - begun > 60_000) throw new Error("no login worked within 60 s");
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** Logins that have worked so far. */
  get count(): number {
    return this.#times.length;
  }

  /** Ends when each partner is in. The times are of those that weren't yet at `since` (performance.now()). */
  async stop(since: number): Promise<LoginTimes> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
    const times = this.#times.filter(({ begun, ms }) => begun + ms >= since).map(({ ms }) => ms);
    times.sort((a, b) => a - b);
    return {
      logins: times.length,
      medianMs: times[Math.floor(times.length / 2)] ?? Number.NaN,
      worstMs: times.at(-1) ?? Number.NaN,
    };
  }

  /** For the end of a test, which may have failed and left a site that lets nobody in. Never rejects. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    this.#stopped = true;
    await Promise.allSettled(this.#lanes);
  }
}
