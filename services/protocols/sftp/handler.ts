import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { AttributeChange, DirectoryEntry, OpenIntent, Session } from "#sessions/contract.js";
import { MalformedPacket, type Packet } from "./codec.js";
import { attributesReply, handleReply, pathReply, versionReply } from "./encode.js";
import { startExtension } from "./extensions.js";
import { HandleTable, OpenDirectory, OpenFile, type OpenHandle } from "./handles.js";
import { Lister } from "./lister.js";
import type { Meter } from "./meter.js";
import { Status } from "./protocol.js";
import type { Reader } from "./reader.js";
import type { Replies } from "./replies.js";
import { decodeRequest, type Request, type RequestName } from "./requests.js";
import { statusOf } from "./status.js";

/** What a handler works with. */
export interface HandlerOptions {
  readonly session: Session;
  readonly replies: Replies;
  readonly reader: Reader;
  readonly meter: Meter;
  readonly logger: Logger;
  readonly maxHandles: number;
}

/**
 * Translates requests into calls of the session, each started in the order of arrival and none awaited: the session keeps
 * the order that a client may count on. Each request gets exactly one reply.
 */
export class Handler {
  readonly #session: Session;
  readonly #replies: Replies;
  readonly #reader: Reader;
  readonly #meter: Meter;
  readonly #logger: Logger;
  readonly #maxHandles: number;
  readonly #handles: HandleTable;
  readonly #lister: Lister;
  /** CLOSEs that wait for READs before them. */
  readonly #deferredCloses = new Set<() => void>();
  #greeted = false;
  #ended = false;
  #pendingWriteBytes = 0;

  constructor(options: HandlerOptions) {
    this.#session = options.session;
    this.#replies = options.replies;
    this.#reader = options.reader;
    this.#meter = options.meter;
    this.#logger = options.logger;
    this.#maxHandles = options.maxHandles;
    this.#handles = new HandleTable(options.maxHandles);
    this.#lister = new Lister(options.session.account, options.replies);
  }

  /** Handles open, being opened and being closed. */
  get openHandles(): number {
    return this.#handles.count;
  }

  /** Bytes of WRITEs that aren't answered. */
  get pendingWriteBytes(): number {
    return this.#pendingWriteBytes;
  }

  /** Goes on with what waited for room. */
  progress(): void {
    this.#reader.pump();
    this.#lister.pump();
  }

  /** Takes one packet. Throws only where the client doesn't speak SFTP at all, and the channel has to end. */
  handle(packet: Packet): void {
    this.#meter.request(packet.type);
    let request: Request;
    try {
      request = decodeRequest(packet);
    } catch (error) {
      if (!this.#greeted || !(error instanceof MalformedPacket)) throw error;
      this.#replies.expect();
      this.#fail(packet.id, "unknown", error);
      return;
    }
    if (request.name === "init") {
      // draft-02, section 4: the first packet, and only that.
      if (this.#greeted) throw new MalformedPacket("second INIT");
      this.#greeted = true;
      this.#replies.greet(versionReply());
      return;
    }
    if (!this.#greeted) throw new MalformedPacket("request before INIT");
    this.#replies.expect();
    try {
      this.#dispatch(packet.id, request);
    } catch (error) {
      this.#fail(packet.id, request.name, error);
    }
  }

  /**
   * The channel is gone: what the client left open is abandoned, which is never a commit; a CLOSE that was received goes
   * on (clients.md, "Handles"). Only this channel's: a client may have several in one session.
   */
  end(): void {
    this.#ended = true;
    this.#reader.close();
    for (const open of this.#handles.clear()) {
      const gone = open.kind === "file" ? open.file.abandon() : open.directory.close();
      gone.catch((error: unknown) => this.#logger.error("abandoning a handle failed", { error }));
    }
    const closes = [...this.#deferredCloses];
    this.#deferredCloses.clear();
    for (const close of closes) close();
  }

  #dispatch(id: number, request: Exclude<Request, { name: "init" }>): void {
    const session = this.#session;
    switch (request.name) {
      case "write":
        this.#write(id, request);
        break;
      case "read":
        this.#read(id, request.handle, request.offset, request.length);
        break;
      case "open":
        this.#open(id, request.path, request.intent);
        break;
      case "close":
        this.#close(id, request.handle);
        break;
      case "stat":
      case "lstat":
        this.#answer(id, request.name, session.stat(request.path, request.name === "stat"), (found) =>
          attributesReply(id, found),
        );
        break;
      case "fstat":
        this.#answer(id, request.name, this.#file(request.handle).file.attributes(), (found) =>
          attributesReply(id, found),
        );
        break;
      case "setstat":
        this.#answer(id, request.name, session.setAttributes(request.path, request.change, true));
        break;
      case "fsetstat":
        this.#setHandle(id, request.handle, request.change);
        break;
      case "opendir":
        this.#openDirectory(id, request.path);
        break;
      case "readdir":
        this.#lister.add(this.#directory(request.handle), id);
        break;
      case "remove":
        this.#answer(id, request.name, session.remove(request.path));
        break;
      case "mkdir":
        this.#answer(id, request.name, session.makeDirectory(request.path, request.change));
        break;
      case "rmdir":
        this.#answer(id, request.name, session.removeDirectory(request.path));
        break;
      case "realpath":
        this.#replies.reply(pathReply(id, session.realPath(request.path)));
        break;
      case "readlink":
        this.#answer(id, request.name, session.readLink(request.path), (target) => pathReply(id, target));
        break;
      case "rename":
        this.#answer(id, request.name, session.rename(request.from, request.to, false));
        break;
      case "symlink":
        throw new LongshoreError("unsupported", "symbolic links can't be made here");
      case "extended": {
        const work = startExtension(request.extension, id, request.rest, {
          session,
          maxHandles: this.#maxHandles,
          file: (handle) => this.#file(handle),
        });
        if (work === undefined) throw new LongshoreError("unsupported", "unknown extension");
        this.#answer(id, request.name, work, (reply) => reply);
        break;
      }
      case "unknown":
        throw new LongshoreError("unsupported", `unknown request ${request.type}`);
    }
  }

  /** Replies when `work` is done: with what `encode` makes of it, or STATUS OK. */
  #answer<T>(id: number, name: RequestName, work: Promise<T>, encode?: (value: T) => Buffer | undefined): void {
    work.then(
      (value) => {
        const reply = encode?.(value);
        if (reply === undefined) this.#replies.ok(id);
        else this.#replies.reply(reply);
      },
      (error: unknown) => this.#fail(id, name, error),
    );
  }

  #fail(id: number, name: RequestName, error: unknown): void {
    const { code, message, unexpected } = statusOf(error, name);
    if (unexpected && !this.#ended) this.#logger.error("sftp request failed", { request: name, error });
    this.#replies.status(id, code, message);
  }

  #handle(handle: number): OpenHandle {
    const open = this.#handles.get(handle);
    if (open === undefined) throw new LongshoreError("closed", "invalid handle");
    return open;
  }

  #file(handle: number): OpenFile {
    const open = this.#handle(handle);
    if (open.kind !== "file") throw new LongshoreError("is-a-directory", "handle is a directory's");
    return open;
  }

  #directory(handle: number): OpenDirectory {
    const open = this.#handle(handle);
    if (open.kind !== "directory") throw new LongshoreError("not-a-directory", "handle isn't a directory's");
    return open;
  }

  /** No promise and no copy: a bulk upload comes through here some 4,000 times a GiB. */
  #write(id: number, { handle, offset, bytes, payload, blocks }: Request & { name: "write" }): void {
    const { file } = this.#file(handle);
    if (!file.writable) throw new LongshoreError("permission-denied", "file isn't open for writing");
    if (payload === undefined) {
      // Some clients take no notice of this reply and go by CLOSE's (clients.md, finding 3): the handle has to fail, which
      // a write to where no file can be makes it do.
      file.write(Number.POSITIVE_INFINITY, [], () => {});
      throw new MalformedPacket("data is shorter than its length says");
    }
    if (bytes === 0) {
      this.#replies.ok(id);
      return;
    }
    this.#pendingWriteBytes += bytes;
    file.write(offset, payload, (error) => {
      for (const block of blocks) block.release();
      this.#pendingWriteBytes -= bytes;
      if (error === undefined) this.#replies.ok(id);
      else this.#fail(id, "write", error);
    });
  }

  #read(id: number, handle: number, offset: number, length: number): void {
    const open = this.#file(handle);
    if (!open.file.readable) throw new LongshoreError("permission-denied", "file isn't open for reading");
    // read(2) of nothing gives nothing, which SFTP can only say as EOF.
    if (length === 0) this.#replies.status(id, Status.EOF, "");
    else this.#reader.add(open, { id, offset, length });
  }

  #takePlace(): void {
    if (!this.#handles.take()) throw new LongshoreError("limit", "too many open handles");
  }

  #open(id: number, path: string, intent: OpenIntent): void {
    this.#takePlace();
    this.#opened(id, "open", () => this.#session.open(path, intent), {
      keep: (file) => new OpenFile(path, file),
      drop: (file) => file.abandon(),
    });
  }

  #openDirectory(id: number, path: string): void {
    this.#takePlace();
    this.#opened(id, "opendir", () => this.#session.openDirectory(path), {
      keep: (directory) => new OpenDirectory(directory, () => this.#dots(path)),
      drop: (directory) => directory.close(),
    });
  }

  async #dots(path: string): Promise<readonly DirectoryEntry[]> {
    const here = await this.#session.stat(path, true);
    // the account may have no right to look there
    const above = await this.#session.stat(`${path}/..`, true).catch(() => here);
    return [
      { name: ".", attributes: here },
      { name: "..", attributes: above },
    ];
  }

  #opened<T>(
    id: number,
    name: RequestName,
    start: () => Promise<T>,
    then: { keep(value: T): OpenHandle; drop(value: T): Promise<void> },
  ): void {
    let work: Promise<T>;
    try {
      work = start();
    } catch (error) {
      this.#handles.release();
      throw error;
    }
    work.then(
      (value) => {
        if (this.#ended) {
          // Opened for a connection that is gone: nobody will ever close it.
          then.drop(value).catch(() => {});
          return;
        }
        this.#replies.reply(handleReply(id, this.#handles.add(then.keep(value))));
      },
      (error: unknown) => {
        this.#handles.release();
        this.#fail(id, name, error);
      },
    );
  }

  #setHandle(id: number, handle: number, change: AttributeChange): void {
    const open = this.#handle(handle);
    // lftp and sshfs set times through a directory's handle; there is no path behind it that could have moved.
    if (open.kind === "directory") throw new LongshoreError("unsupported", "attributes of a directory's handle");
    this.#answer(id, "fsetstat", open.file.setAttributes(change));
  }

  #close(id: number, handle: number): void {
    const open = this.#handle(handle);
    this.#handles.remove(handle);
    const close = () => {
      const work = open.kind === "file" ? open.file.close() : open.directory.close();
      const released = work.finally(() => this.#handles.release());
      this.#answer(id, "close", released);
    };
    // A CLOSE behind READs that wait for room: the file stays open until they have read. A writer without READs closes at
    // once, so that path requests behind the CLOSE find it begun (WinSCP's SETSTAT).
    if (open.kind === "file" && open.readsLeft) {
      this.#deferredCloses.add(close);
      open.onReadsDone = () => {
        if (this.#deferredCloses.delete(close)) close();
      };
    } else close();
  }
}
