import type { Socket } from "node:net";
import { Client, type ClientChannel } from "ssh2";
import { dial, type ProxyHeader } from "./dial.js";
import { within } from "./run.js";
import {
  type Attrs,
  attrs,
  decodeReply,
  type NameEntry,
  Open,
  packet,
  Reader,
  type Reply,
  Status,
  string,
  Type,
  u32,
  u64,
} from "./sftp-codec.js";

export { Open, Status, Type } from "./sftp-codec.js";

export interface RawOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly privateKey?: Buffer | string;
  readonly password?: string;
  /** Goes first: a session with one node, past the balancer. */
  readonly proxy?: ProxyHeader;
  /** Where the connection comes from: a loopback address stands for a partner of its own. */
  readonly localAddress?: string;
  /** For the connection and the login. Default 20,000. */
  readonly deadlineMs?: number;
  /** For each reply. Default 30,000. */
  readonly replyMs?: number;
}

/** A STATUS that isn't what the caller hoped for. */
export class SftpStatus extends Error {
  constructor(
    readonly code: number,
    readonly text: string,
    what: string,
  ) {
    super(`${what}: status ${code} "${text}"`);
    this.name = "SftpStatus";
  }
}

/** The connection ended before the reply came: whatever was asked may or may not have happened. */
export class ConnectionLost extends Error {
  constructor(what: string) {
    super(`connection lost while waiting for ${what}`);
    this.name = "ConnectionLost";
  }
}

interface Waiting {
  readonly what: string;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
}

type Path = string | Buffer;

/**
 * An SFTP client without manners: sends any bytes, in any order, as many as wanted, and matches replies by id.
 * Connection loss is `drop()`.
 */
export class RawSftp {
  /** As advertised in VERSION. */
  readonly extensions = new Map<string, string>();
  /** Replies to ids that nobody waits for. */
  readonly strays: Reply[] = [];
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  version = 0;
  private nextId = 1;
  private input: Buffer = Buffer.alloc(0);
  private readonly waiting = new Map<number, Waiting>();
  private gone = false;
  private readonly versionSeen: Promise<void>;

  private constructor(
    private readonly client: Client,
    readonly socket: Socket,
    readonly channel: ClientChannel,
    private readonly replyMs: number,
  ) {
    let sawVersion: () => void = () => undefined;
    this.versionSeen = new Promise((resolve) => {
      sawVersion = resolve;
    });
    channel.on("data", (data: Buffer) => this.take(data, sawVersion));
    channel.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      const end = () => {
        this.lose();
        resolve();
      };
      channel.once("close", end);
      socket.once("close", end);
    });
  }

  /** Logs in, opens the subsystem and, unless `init` is false, exchanges versions. */
  static async connect(options: RawOptions, init = true): Promise<RawSftp> {
    const deadline = options.deadlineMs ?? 20_000;
    const socket = await dial({ ...options, deadlineMs: deadline });
    try {
      return await within(deadline, "an SFTP session", RawSftp.login(socket, options, init));
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  private static async login(socket: Socket, options: RawOptions, init: boolean): Promise<RawSftp> {
    const client = new Client();
    const channel = await new Promise<ClientChannel>((resolve, reject) => {
      client.on("error", reject);
      client.once("close", () => reject(new ConnectionLost("the login")));
      client.once("ready", () => {
        client.subsys("sftp", (error, stream) => {
          if (error) reject(error);
          else resolve(stream);
        });
      });
      client.connect({
        sock: socket,
        username: options.user,
        readyTimeout: 0,
        ...(options.privateKey === undefined ? {} : { privateKey: options.privateKey }),
        ...(options.password === undefined ? {} : { password: options.password }),
      });
    });
    const raw = new RawSftp(client, socket, channel, options.replyMs ?? 30_000);
    if (init) {
      raw.sendBytes(packet(Type.INIT, u32(3)));
      await Promise.race([
        raw.versionSeen,
        raw.closed.then(() => {
          throw new ConnectionLost("VERSION");
        }),
      ]);
    }
    return raw;
  }

  private take(data: Buffer, sawVersion: () => void): void {
    this.input = Buffer.concat([this.input, data]);
    while (this.input.length >= 5) {
      const length = this.input.readUInt32BE(0);
      if (this.input.length < 4 + length) return;
      const type = this.input.readUInt8(4);
      const body = this.input.subarray(5, 4 + length);
      if (type === Type.VERSION) {
        const reader = new Reader(body);
        this.version = reader.u32();
        while (reader.rest > 0) {
          const name = reader.string().toString();
          this.extensions.set(name, reader.string().toString("latin1"));
        }
        sawVersion();
      } else {
        this.settle(decodeReply(type, body));
      }
      this.input = this.input.subarray(4 + length);
    }
  }

  private settle(reply: Reply): void {
    const waiting = this.waiting.get(reply.id);
    this.waiting.delete(reply.id);
    if (waiting === undefined) this.strays.push(reply);
    else waiting.resolve(reply);
  }

  private lose(): void {
    if (this.gone) return;
    this.gone = true;
    for (const { what, reject } of this.waiting.values()) reject(new ConnectionLost(what));
    this.waiting.clear();
  }

  /** The session is over, whoever ended it. */
  get isGone(): boolean {
    return this.gone;
  }

  /** Requests that were sent and not answered. */
  get unanswered(): number {
    return this.waiting.size;
  }

  /** Any bytes into the subsystem's channel. False: the window is closed, wait for `drain` on `channel`. */
  sendBytes(data: Buffer): boolean {
    return this.channel.write(data);
  }

  /** A request with a fresh id. The reply comes later; nothing waits for anything. */
  request(type: number, what: string, ...body: readonly Buffer[]): Promise<Reply> {
    const id = this.nextId++;
    const reply = new Promise<Reply>((resolve, reject) => {
      if (this.gone) reject(new ConnectionLost(what));
      else this.waiting.set(id, { what, resolve, reject });
    });
    reply.catch(() => undefined); // a caller who pipelines may look at it much later
    if (!this.gone) this.sendBytes(packet(type, u32(id), ...body));
    return within(this.replyMs, `a reply to ${what}`, reply);
  }

  private async ok(type: number, what: string, ...body: readonly Buffer[]): Promise<void> {
    const reply = await this.request(type, what, ...body);
    if (reply.kind !== "status") throw new Error(`${what}: a ${reply.kind} reply`);
    if (reply.code !== Status.OK) throw new SftpStatus(reply.code, reply.message, what);
  }

  private async expect<K extends Reply["kind"]>(
    kind: K,
    type: number,
    what: string,
    ...body: readonly Buffer[]
  ): Promise<Extract<Reply, { kind: K }>> {
    const reply = await this.request(type, what, ...body);
    if (reply.kind === "status") throw new SftpStatus(reply.code, reply.message, what);
    if (reply.kind !== kind) throw new Error(`${what}: a ${reply.kind} reply`);
    return reply as Extract<Reply, { kind: K }>;
  }

  async open(path: Path, flags: number, attributes: Attrs = {}): Promise<Buffer> {
    const body = [string(path), u32(flags), attrs(attributes)];
    return (await this.expect("handle", Type.OPEN, `OPEN ${path} ${flags}`, ...body)).handle;
  }

  close(handle: Buffer): Promise<void> {
    return this.ok(Type.CLOSE, "CLOSE", string(handle));
  }

  write(handle: Buffer, offset: number | bigint, data: Buffer): Promise<void> {
    return this.ok(Type.WRITE, `WRITE ${data.length} at ${offset}`, string(handle), u64(offset), string(data));
  }

  /** An empty buffer at the end of the file. */
  async read(handle: Buffer, offset: number, length: number): Promise<Buffer> {
    try {
      const body = [string(handle), u64(offset), u32(length)];
      return (await this.expect("data", Type.READ, `READ ${length} at ${offset}`, ...body)).data;
    } catch (error) {
      if (error instanceof SftpStatus && error.code === Status.EOF) return Buffer.alloc(0);
      throw error;
    }
  }

  async stat(path: Path): Promise<Attrs> {
    return (await this.expect("attrs", Type.STAT, `STAT ${path}`, string(path))).attrs;
  }

  async lstat(path: Path): Promise<Attrs> {
    return (await this.expect("attrs", Type.LSTAT, `LSTAT ${path}`, string(path))).attrs;
  }

  async fstat(handle: Buffer): Promise<Attrs> {
    return (await this.expect("attrs", Type.FSTAT, "FSTAT", string(handle))).attrs;
  }

  setstat(path: Path, change: Attrs): Promise<void> {
    return this.ok(Type.SETSTAT, `SETSTAT ${path}`, string(path), attrs(change));
  }

  fsetstat(handle: Buffer, change: Attrs): Promise<void> {
    return this.ok(Type.FSETSTAT, "FSETSTAT", string(handle), attrs(change));
  }

  remove(path: Path): Promise<void> {
    return this.ok(Type.REMOVE, `REMOVE ${path}`, string(path));
  }

  mkdir(path: Path, attributes: Attrs = {}): Promise<void> {
    return this.ok(Type.MKDIR, `MKDIR ${path}`, string(path), attrs(attributes));
  }

  rmdir(path: Path): Promise<void> {
    return this.ok(Type.RMDIR, `RMDIR ${path}`, string(path));
  }

  rename(from: Path, to: Path): Promise<void> {
    return this.ok(Type.RENAME, `RENAME ${from} ${to}`, string(from), string(to));
  }

  posixRename(from: Path, to: Path): Promise<void> {
    const body = [string("posix-rename@openssh.com"), string(from), string(to)];
    return this.ok(Type.EXTENDED, `posix-rename ${from} ${to}`, ...body);
  }

  /** The target as the client would type it. The draft has the arguments the other way round; servers follow OpenSSH. */
  symlink(target: Path, link: Path): Promise<void> {
    return this.ok(Type.SYMLINK, `SYMLINK ${target} ${link}`, string(target), string(link));
  }

  async realpath(path: Path): Promise<string> {
    const reply = await this.expect("name", Type.REALPATH, `REALPATH ${path}`, string(path));
    return reply.entries[0]?.name.toString() ?? "";
  }

  extended(name: string, ...body: readonly Buffer[]): Promise<Reply> {
    return this.request(Type.EXTENDED, name, string(name), ...body);
  }

  async opendir(path: Path): Promise<Buffer> {
    return (await this.expect("handle", Type.OPENDIR, `OPENDIR ${path}`, string(path))).handle;
  }

  /** All entries but "." and "..". */
  async list(path: Path): Promise<NameEntry[]> {
    const handle = await this.opendir(path);
    const all: NameEntry[] = [];
    for (;;) {
      const reply = await this.request(Type.READDIR, `READDIR ${path}`, string(handle));
      if (reply.kind === "status" && reply.code === Status.EOF) break;
      if (reply.kind === "status") throw new SftpStatus(reply.code, reply.message, `READDIR ${path}`);
      if (reply.kind !== "name") throw new Error(`READDIR: a ${reply.kind} reply`);
      all.push(...reply.entries.filter(({ name }) => !["", ".", ".."].includes(name.toString())));
    }
    await this.close(handle);
    return all;
  }

  /** Writes all of `data` from `offset`, pipelined; resolves when each WRITE was answered OK. */
  async writeAll(handle: Buffer, data: Buffer, offset = 0, piece = 32_768): Promise<void> {
    const replies: Promise<void>[] = [];
    for (let at = 0; at < data.length; at += piece) {
      const reply = this.write(handle, offset + at, data.subarray(at, at + piece));
      // Refused while others are still being sent: told below.
      reply.catch(() => {});
      replies.push(reply);
      if (this.channel.writableNeedDrain) await Promise.race([this.drained(), this.closed]);
    }
    await Promise.all(replies);
  }

  private drained(): Promise<void> {
    return new Promise((resolve) => this.channel.once("drain", () => resolve()));
  }

  /** OPEN (W,C,T unless told), WRITEs, CLOSE: resolved means that the upload is acknowledged. */
  async put(path: Path, data: Buffer, flags: number = Open.W | Open.C | Open.T, offset = 0): Promise<void> {
    const handle = await this.open(path, flags);
    await this.writeAll(handle, data, offset);
    await this.close(handle);
  }

  /** The whole file as a reader sees it. */
  async get(path: Path): Promise<Buffer> {
    const handle = await this.open(path, Open.R);
    const parts: Buffer[] = [];
    for (let at = 0; ; ) {
      const data = await this.read(handle, at, 65_536);
      if (data.length === 0) break;
      parts.push(data);
      at += data.length;
    }
    await this.close(handle);
    return Buffer.concat(parts);
  }

  /** The network's way to end a session: a reset, no CLOSE, no goodbye. Resolves when our side is closed. */
  async drop(): Promise<void> {
    // A reset behind an end() is refused by libuv and leaves a handle that keeps node from exiting.
    if (this.socket.writableEnded) this.socket.destroy();
    else this.socket.resetAndDestroy();
    await this.closed;
  }

  /** A polite end. Idempotent. */
  async end(): Promise<void> {
    if (this.gone) return;
    this.client.end();
    await within(5_000, "the connection to end", this.closed).catch(() => this.socket.destroy());
  }
}

/** The status code that an operation ends with; OK where it resolves. Anything but a status is thrown on. */
export async function codeOf(operation: Promise<unknown>): Promise<number> {
  try {
    await operation;
    return Status.OK;
  } catch (error) {
    if (error instanceof SftpStatus) return error.code;
    throw error;
  }
}
