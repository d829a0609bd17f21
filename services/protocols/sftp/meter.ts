import { PacketType } from "./protocol.js";

/** What one session did since the last call. The arrays are reused: copy what you keep. */
export interface SftpBatch {
  /** Bytes of the SFTP stream, without SSH's own. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Requests by packet type; 0 counts those of unknown types. */
  readonly requests: ReadonlyMap<number, number>;
  /** STATUS replies by code, but for OK and EOF. */
  readonly errors: ReadonlyMap<number, number>;
}

/** Who counts: metrics and the session's own record. Called a few times a second at most, never per packet. */
export interface SftpObserver {
  batch(batch: SftpBatch): void;
}

/** Between reports of a busy session. */
const REPORT_MS = 250;

const KNOWN: ReadonlySet<number> = new Set(Object.values(PacketType));

/** Adds up and reports in batches; holds a timer only while there is something to report. */
export class Meter {
  readonly #observer: SftpObserver;
  readonly #requests = new Map<number, number>();
  readonly #errors = new Map<number, number>();
  #bytesIn = 0;
  #bytesOut = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(observer: SftpObserver) {
    this.#observer = observer;
  }

  received(bytes: number): void {
    this.#bytesIn += bytes;
    this.#arm();
  }

  sent(bytes: number): void {
    this.#bytesOut += bytes;
    this.#arm();
  }

  request(type: number): void {
    const key = KNOWN.has(type) ? type : 0;
    this.#requests.set(key, (this.#requests.get(key) ?? 0) + 1);
  }

  error(code: number): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }

  /** Reports at once; the session's end does. */
  report(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#bytesIn === 0 && this.#bytesOut === 0 && this.#requests.size === 0 && this.#errors.size === 0) return;
    this.#observer.batch({
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      requests: this.#requests,
      errors: this.#errors,
    });
    this.#bytesIn = 0;
    this.#bytesOut = 0;
    this.#requests.clear();
    this.#errors.clear();
  }

  #arm(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => this.report(), REPORT_MS);
    this.#timer.unref();
  }
}
