import type { Socket } from "node:net";
import type { Connection, ServerChannel } from "ssh2";
import type { SftpSettings } from "#config/schema.js";
import { monotonicMs } from "#lib/clock.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Session } from "#sessions/contract.js";
import { PacketStream } from "./codec.js";
import { Handler } from "./handler.js";
import { type Loan, lendReads } from "./inbound.js";
import { Meter, type SftpObserver } from "./meter.js";
import { RawChannel, selfTest } from "./raw-channel.js";
import { Reader } from "./reader.js";
import { Replies } from "./replies.js";

export type { SftpBatch, SftpObserver } from "./meter.js";

/** The SFTP layer on one raw channel of ssh2, from the `sftp` subsystem request to the channel's end. */
export interface SftpSubsystem {
  /** Nothing is asked, nothing is on its way to the client. A request under way is no idleness, however long it takes. */
  readonly idle: boolean;
  /** When the last byte came or a reply went, on the monotonic clock (ms). */
  readonly lastActivity: number;
  /** Handles open, being opened and being closed. */
  readonly openHandles: number;
  /** Ends the channel, abandons its open handles, lets closes under way finish. Idempotent. */
  end(reason: string): void;
}

export interface SftpOptions {
  /** The server's side of the connection. */
  readonly client: Connection;
  /** What `accept()` of the session's "subsystem" event gave, with no listener of anybody else's on it. */
  readonly channel: ServerChannel;
  /** The socket that was given to ssh2. */
  readonly socket: Socket;
  /** The connection's; it may serve several channels, so that the connection ends it. */
  readonly session: Session;
  readonly settings: SftpSettings;
  readonly logger: Logger;
  readonly observer: SftpObserver;
}

/** Bytes of unanswered WRITEs above which nothing more is read from the client. */
const WRITES_AT_MOST = 4 * 1_048_576;
/** Unanswered requests above which nothing more is read. OpenSSH has 64 under way, rclone 65. */
const REQUESTS_AT_MOST = 1_024;
/** Unread reply bytes above which nothing more is read. */
const REPLIES_AT_MOST = 4 * 1_048_576;
/**
 * ssh2 holds what the window lets a client send while we read nothing: three MiB at most (window and high-water mark are
 * two, and the window is opened again at half). More came from a client that ignores its window.
 */
const HELD_AT_MOST = 4 * 1_048_576;

let toldOfSelfTest = false;

/** Starts to serve a channel. */
export function startSftpSubsystem(options: SftpOptions): SftpSubsystem {
  if (!toldOfSelfTest) {
    toldOfSelfTest = true;
    const working = selfTest();
    if (working.size < 3)
      options.logger.warn("ssh2's ciphers aren't as expected: downloads take the slow path", { working: [...working] });
  }
  return new Subsystem(options);
}

class Subsystem implements SftpSubsystem {
  readonly #channel: ServerChannel;
  readonly #client: Connection;
  readonly #socket: Socket;
  readonly #logger: Logger;
  readonly #meter: Meter;
  readonly #stream = new PacketStream();
  readonly #replies: Replies;
  readonly #handler: Handler;
  readonly #loan: Loan | undefined;
  #lastActivity = monotonicMs();
  #paused = false;
  #finishing = false;
  #ended = false;

  constructor({ client, channel, socket, session, settings, logger, observer }: SftpOptions) {
    this.#channel = channel;
    this.#client = client;
    this.#socket = socket;
    this.#logger = logger;
    this.#meter = new Meter(observer);
    const raw = RawChannel.of(client, channel, socket);
    if (raw === undefined) logger.warn("ssh2 isn't as expected: downloads take the slow path");
    const meter = this.#meter;
    this.#replies = new Replies({ channel, socket, raw, meter, onProgress: () => this.#progress() });
    const reader = new Reader(this.#replies, raw);
    const replies = this.#replies;
    this.#handler = new Handler({ session, replies, reader, meter, logger, maxHandles: settings.maxHandles });
    this.#loan = lendReads(client, channel, socket);
    channel.on("data", this.#onData);
    channel.on("end", this.#onEnd);
    channel.on("close", this.#onClose);
    channel.on("error", this.#onError);
    client.on("close", this.#onClose);
    // Emitted after each key exchange, when ssh2 sends again.
    client.on("handshake", this.#onWake);
    socket.on("drain", this.#onWake);
  }

  get idle(): boolean {
    return this.#replies.done && this.#socket.writableLength === 0;
  }

  get lastActivity(): number {
    return this.#lastActivity;
  }

  get openHandles(): number {
    return this.#handler.openHandles;
  }

  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.off("data", this.#onData);
    this.#client.off("close", this.#onClose);
    this.#client.off("handshake", this.#onWake);
    this.#socket.off("drain", this.#onWake);
    this.#socket.off("data", this.#onHeldData);
    this.#loan?.end();
    this.#handler.end();
    this.#replies.close();
    this.#meter.report();
    // What is still held of the client's data is let go, or "end" and "close" of the channel would never come.
    this.#channel.resume();
    if (this.#channel.writable) this.#channel.end();
    this.#logger.debug("sftp channel ended", { reason });
  }

  readonly #onData = (chunk: Buffer) => {
    this.#lastActivity = monotonicMs();
    this.#meter.received(chunk.length);
    this.#stream.push(chunk);
    this.#loan?.pass(chunk.length);
    this.#take();
  };

  /** The client sends no more: answer what it asked, then close. */
  readonly #onEnd = () => {
    this.#finishing = true;
    this.#take();
  };

  readonly #onClose = () => this.end("connection closed");

  readonly #onError = (error: unknown) => {
    this.#logger.debug("sftp channel failed", { error });
    this.end("channel failed");
  };

  readonly #onWake = () => this.#replies.wake();

  /** Only while paused: looks at what ssh2 holds for us. */
  readonly #onHeldData = () => {
    if (this.#channel.readableLength <= HELD_AT_MOST) return;
    this.#logger.warn("sftp client ignores its window: connection ended");
    this.end("window ignored");
    this.#socket.destroy();
  };

  #progress(): void {
    this.#lastActivity = monotonicMs();
    this.#handler.progress();
    this.#take();
  }

  get #mayTake(): boolean {
    return (
      this.#replies.unanswered < REQUESTS_AT_MOST &&
      this.#handler.pendingWriteBytes < WRITES_AT_MOST &&
      this.#replies.waitingBytes < REPLIES_AT_MOST
    );
  }

  /** Takes packets while they may be taken, and holds the client back, by its window, while they may not. */
  #take(): void {
    if (this.#ended) return;
    let blocked = false;
    try {
      for (;;) {
        blocked = !this.#mayTake;
        if (blocked) break;
        const packet = this.#stream.next();
        if (packet === undefined) break;
        this.#handler.handle(packet);
      }
    } catch (error) {
      this.#refuseChannel(error);
      return;
    }
    this.#handler.progress();
    if (this.#ended) return;
    if (blocked) this.#pause();
    else this.#resume();
    if (this.#finishing && !blocked && this.#replies.done) this.#finish();
  }

  /** The readable side fills to its mark, ssh2 opens the window no more, and the rest of the connection goes on. */
  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#channel.pause();
    this.#socket.on("data", this.#onHeldData);
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.off("data", this.#onHeldData);
    this.#channel.resume();
  }

  /** Framing is lost, or it never was SFTP. */
  #refuseChannel(error: unknown): void {
    const expected = error instanceof LongshoreError;
    const reason = expected ? error.message : "internal error";
    if (expected) this.#logger.warn("sftp channel ended", { reason });
    else this.#logger.error("sftp channel ended", { error });
    if (this.#channel.writable) this.#channel.exit(1);
    this.end(reason);
  }

  /** All is answered: RFC 4254, section 6.10 wants the exit status before the close. */
  #finish(): void {
    if (this.#channel.writable) this.#channel.exit(0);
    this.end("client finished");
  }
}
