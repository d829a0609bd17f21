import type { Actor } from "#commit/contract.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { RefusedOperation } from "./refused.js";

export type Direction = "upload" | "download";
/** `partial`: kept, not committed. `unknown`: it may or may not be committed. */
export type TransferEnd = "complete" | "partial" | "failed" | "unknown";

/** A transfer under way. */
export interface RunningTransfer {
  readonly id: string;
  readonly direction: Direction;
  /** As the client named it. */
  readonly path: string;
  readonly bytes: number;
  /** Wall clock, milliseconds since 1970. */
  readonly since: number;
}

/** A transfer at its end, for the record. */
export interface EndedTransfer {
  readonly id: string;
  readonly actor: Actor;
  readonly path: string;
  /** Moved in this transfer: of a resumed one, fewer than its file has. */
  readonly bytes: number;
  readonly seconds: number;
  /** What else is known of its end: the file's size, why it failed. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Told of every transfer; cheap, never throws. */
export interface TransferObserver {
  opened(direction: Direction, transfer: RunningTransfer): void;
  bytes(direction: Direction, count: number): void;
  ended(direction: Direction, end: TransferEnd, transfer: EndedTransfer): void;
  /** A file operation was refused for want of a right, a sound path or room. */
  refused?(refused: RefusedOperation): void;
}

/** Bytes are told on in lumps: a counter a packet would be the dearest part of a packet. */
const LUMP = 4 << 20;

/** The record of one transfer, from its open to its one end: a log line, and what metrics count. */
export class TransferLog implements RunningTransfer {
  readonly id: string;
  readonly direction: Direction;
  readonly path: string;
  readonly since = Date.now();
  readonly #actor: Actor;
  readonly #logger: Logger;
  readonly #observer: TransferObserver;
  readonly #started = monotonicMs();
  #bytes = 0;
  #told = 0;
  #ended = false;

  constructor(
    id: string,
    direction: Direction,
    path: string,
    actor: Actor,
    logger: Logger,
    observer: TransferObserver,
  ) {
    this.id = id;
    this.direction = direction;
    this.path = path;
    this.#actor = actor;
    this.#logger = logger;
    this.#observer = observer;
    observer.opened(direction, this);
  }

  get bytes(): number {
    return this.#bytes;
  }

  moved(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes - this.#told >= LUMP) this.#tell();
  }

  /** Once; later calls say nothing. */
  ended(end: TransferEnd, fields: Readonly<Record<string, unknown>> = {}): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#tell();
    const seconds = Math.round(monotonicMs() - this.#started) / 1_000;
    const { id, bytes } = this;
    const about = { id, actor: this.#actor, path: this.path, bytes, seconds, details: fields };
    this.#observer.ended(this.direction, end, about);
    const line = { transfer: id, direction: this.direction, path: this.path, end, bytes, seconds, ...fields };
    if (end === "failed" || end === "unknown") this.#logger.warn("transfer", line);
    else this.#logger.info("transfer", line);
  }

  #tell(): void {
    const count = this.#bytes - this.#told;
    if (count === 0) return;
    this.#told = this.#bytes;
    this.#observer.bytes(this.direction, count);
  }
}
