import type { Socket } from "node:net";
import type { Connection, ServerChannel } from "ssh2";
import type { Verifier } from "#auth/contract.js";
import type { ConfigView } from "#config/contract.js";
import type { Credential } from "#config/credential.js";
import { monotonicMs } from "#lib/clock.js";
import { asLongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Session, Sessions } from "#sessions/contract.js";
import type { SessionRegistry } from "#sessions/registry.js";
import type { Endpoint } from "../net/proxy-header.js";
import type { ConnectionObserver, EndReason, LoginMethod } from "../observer.js";
import { isOfferedHostKey } from "./algorithms.js";
import { refuseWith, serveChannels } from "./channels.js";
import { judgeIdentification } from "./identification.js";
import { runLogin } from "./login.js";
import { allowRepeatedServiceRequest, leaveHostKeyOut, sendKeepalive, swallowIdentification } from "./ssh2-private.js";
import type { SftpObserver, SftpSubsystem, startSftpSubsystem } from "./subsystem.js";
import { decideUpkeep } from "./upkeep.js";

/** What we call ourselves; without a version, which would only serve those who look for an old one. */
export const SOFTWARE = "Longshore";
export const IDENTIFICATION = `SSH-2.0-${SOFTWARE}\r\n`;

const SHA1_RSA = "ssh-rsa";
/** A login that isn't done after so long keeps no node from stopping. Milliseconds. */
const LOGIN_MS = 5_000;
/** How long a connection that was ended may take to fetch its last bytes, in milliseconds. */
const LINGER_MS = 2_000;
/**
 * Bytes that a client may send before its login, key exchange included. A login with 40 keys needs half. Without a bound,
 * a stranger could have us answer requests that nobody reads the answers of.
 */
const MAX_LOGIN_BYTES = 131_072;

export interface SftpConnectionOptions {
  readonly socket: Socket;
  readonly client: Endpoint;
  /** Gives back the place among the unauthenticated (net/listener.ts). */
  readonly release: () => void;
  /** Hands the socket, identification included, to ssh2; `onSsh` is called back with ssh2's side of it. */
  readonly startSsh: (socket: Socket, onSsh: (connection: Connection) => void) => void;
  /** Whether SHA-1 host signatures were offered to this connection. */
  readonly legacyAlgorithms: boolean;
  readonly config: ConfigView;
  readonly verifier: Verifier;
  readonly sessions: Sessions;
  /** Where sessions are known to those who may end them. */
  readonly registry: SessionRegistry | undefined;
  readonly startSubsystem: typeof startSftpSubsystem;
  readonly logger: Logger;
  readonly observer: ConnectionObserver & SftpObserver;
  /** Bytes after which keys are changed. Default: one gigabyte. */
  readonly rekeyBytes: number | undefined;
  /** The socket is closed and the session has ended, its last commit included. */
  readonly onGone: (connection: SftpConnection) => void;
}

/** One partner's connection, from its first byte to its one line in the log. */
export class SftpConnection {
  readonly #options: SftpConnectionOptions;
  readonly #socket: Socket;
  readonly #startedAt = monotonicMs();
  readonly #subsystems = new Set<SftpSubsystem>();
  /** Open, or ending. A subsystem ends its session with its channel, so each channel has one of its own. */
  readonly #sessions = new Set<Session>();
  readonly #grace: NodeJS.Timeout;
  #logger: Logger;
  #ssh: Connection | undefined;
  /** Opened by the login, for the first channel. */
  #loginSession: Session | undefined;
  #account: string | undefined;
  /** Takes the session out of the registry. */
  #leave: (() => void) | undefined;
  /** Of the login's session: names the login on the record. */
  #loginId = "";
  #ending = false;
  #ended: { readonly reason: EndReason; readonly detail: string } | undefined;

  // What upkeep goes by: see ConnectionFacts.
  #heardBytes = 0;
  #heardAt = this.#startedAt;
  #askedAt = 0;
  #unanswered = 0;
  #keysAt = this.#startedAt;
  #keysBytes = 0;
  #rekeyingSince: number | undefined;
  #activeAt = this.#startedAt;

  constructor(options: SftpConnectionOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#logger = options.logger.child({ client: options.client.address });
    const { loginGraceMs } = options.config.snapshot().site.sftp;
    this.#grace = setTimeout(() => this.end("login-grace", `no login within ${loginGraceMs} ms`), loginGraceMs);
    this.#socket.on("error", (error: NodeJS.ErrnoException) => this.#note("lost", error.code ?? error.message));
    this.#socket.once("close", () => void this.#finish());
    this.#readIdentification();
  }

  get client(): Endpoint {
    return this.#options.client;
  }

  /** The account, once logged in. */
  get account(): string | undefined {
    return this.#account;
  }

  /**
   * Ends the connection: its subsystems first, then a goodbye, then the socket, by force where the client doesn't take its
   * last bytes. The first reason is the one that counts. Idempotent.
   */
  end(reason: EndReason, detail: string): void {
    this.#end(reason, detail, this.#ssh);
  }

  /** `ssh`: who says goodbye. Undefined where nobody can: SSH hasn't started, or ssh2 has given up on the connection. */
  #end(reason: EndReason, detail: string, ssh: Connection | undefined): void {
    this.#note(reason, detail);
    for (const subsystem of this.#subsystems) subsystem.end(detail);
    if (this.#ending) return;
    this.#ending = true;
    if (ssh === undefined) this.#socket.destroySoon();
    else ssh.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  /**
   * Whether its client is at something that an end would break: a login under way, a request, or one that was answered less
   * than `quietMs` ago and may only be the first of several. A connection that doesn't log in counts for `LOGIN_MS`.
   */
  busy(now: number, quietMs: number): boolean {
    if (this.#ended !== undefined) return false;
    if (this.#account === undefined) return now - this.#startedAt < LOGIN_MS;
    if (now - this.#activeAt < quietMs) return true;
    for (const { idle, lastActivity } of this.#subsystems) if (!idle || now - lastActivity < quietMs) return true;
    return false;
  }

  /** Looks after the connection; called about once a second. */
  upkeep(now: number): void {
    const ssh = this.#ssh;
    if (ssh === undefined || this.#account === undefined || this.#ended !== undefined) return;
    const socket = this.#socket;
    if (socket.bytesRead !== this.#heardBytes) {
      this.#heardBytes = socket.bytesRead;
      this.#heardAt = now;
      this.#unanswered = 0;
    }
    let working = false;
    for (const subsystem of this.#subsystems) {
      this.#activeAt = Math.max(this.#activeAt, subsystem.lastActivity);
      if (!subsystem.idle) working = true;
    }
    const settings = this.#options.config.snapshot().site.sftp;
    const upkeep = decideUpkeep(
      {
        now,
        heardAt: this.#heardAt,
        unanswered: this.#unanswered,
        askedAt: this.#askedAt,
        paused: socket.isPaused(),
        bytesSinceKeys: socket.bytesRead + socket.bytesWritten - this.#keysBytes,
        keysAt: this.#keysAt,
        rekeyingSince: this.#rekeyingSince,
        activeAt: this.#activeAt,
        working,
        unsentBytes: socket.writableLength,
      },
      settings,
      this.#options.rekeyBytes,
    );
    switch (upkeep.act) {
      case "end":
        this.end(upkeep.reason, upkeep.detail);
        return;
      case "keepalive":
        this.#askedAt = now;
        this.#unanswered++;
        sendKeepalive(ssh);
        return;
      case "rekey":
        this.#rekeyingSince = now;
        ssh.rekey();
    }
  }

  /** Keeps the first reason. */
  #note(reason: EndReason, detail: string): void {
    this.#ended ??= { reason, detail };
  }

  #readIdentification(): void {
    const socket = this.#socket;
    let held: Buffer | undefined;
    const onData = (chunk: Buffer) => {
      held = held === undefined ? chunk : Buffer.concat([held, chunk]);
      const result = judgeIdentification(held);
      if (result.state === "more") return;
      socket.off("data", onData);
      socket.pause();
      if (result.state === "refused") {
        this.end("not-ssh", result.reason);
        return;
      }
      if (this.#ended !== undefined) return;
      socket.unshift(held);
      swallowIdentification(socket, IDENTIFICATION);
      this.#options.startSsh(socket, (ssh) => this.#onSsh(ssh));
      this.#boundLoginBytes();
    };
    socket.on("data", onData);
    socket.resume();
    // Both sides send theirs without waiting (RFC 4253, section 4.2), and some clients wait for ours.
    socket.write(IDENTIFICATION);
  }

  /** Until the login, counts what comes in. */
  #boundLoginBytes(): void {
    const onData = () => {
      if (this.#account !== undefined) this.#socket.off("data", onData);
      else if (this.#socket.bytesRead > MAX_LOGIN_BYTES) {
        this.#socket.off("data", onData);
        this.end("protocol", `more than ${MAX_LOGIN_BYTES} bytes before a login`);
        this.#socket.destroy();
      }
    };
    this.#socket.on("data", onData);
  }

  #onSsh(ssh: Connection): void {
    const options = this.#options;
    this.#ssh = ssh;
    if (!isOfferedHostKey(SHA1_RSA, options.legacyAlgorithms)) leaveHostKeyOut(ssh, SHA1_RSA);
    ssh.on("error", (error) => this.#onSshError(error));
    ssh.on("handshake", ({ serverHostKey }) => {
      if (!isOfferedHostKey(serverHostKey, options.legacyAlgorithms)) {
        this.end("handshake", `it takes only ${serverHostKey} host keys; sftp.legacyAlgorithms would allow that`);
      }
    });
    ssh.on("rekey", () => {
      // Nobody needs new keys within the login; each exchange costs us milliseconds of CPU.
      if (this.#account === undefined) this.end("protocol", "it changed keys before a login");
      this.#rekeyingSince = undefined;
      this.#keysAt = monotonicMs();
      this.#keysBytes = this.#socket.bytesRead + this.#socket.bytesWritten;
    });
    allowRepeatedServiceRequest(ssh);
    runLogin({
      connection: ssh,
      client: { address: options.client.address, protocol: "sftp" },
      verifier: options.verifier,
      maxAttempts: () => options.config.snapshot().site.sftp.maxAuthAttempts,
      logger: this.#logger,
      observer: options.observer,
      onAccepted: ({ name }, method, credential) => this.#admit(name, method, credential),
      end: (reason, detail) => this.end(reason, detail),
    });
    serveChannels(ssh, this.#logger, (channel) => this.#startSubsystem(ssh, channel));
  }

  /** Opens the session of a login that was right. False: refused, and the connection ends. */
  #admit(account: string, method: LoginMethod, credential: Credential | undefined): boolean {
    // The check may have outlived the connection, which would then never end this session.
    if (this.#ended !== undefined) return false;
    try {
      this.#loginSession = this.#openSession(account);
      this.#register(this.#loginSession, method, credential);
    } catch (error) {
      this.end("session-refused", asLongshoreError(error, "the session could not be opened").message);
      return false;
    }
    clearTimeout(this.#grace);
    this.#options.release();
    this.#account = account;
    const { address } = this.#options.client;
    this.#loginId = this.#loginSession.id;
    this.#options.observer.loggedIn?.({ account, address, method, session: this.#loginId });
    this.#activeAt = monotonicMs();
    this.#logger = this.#logger.child({ account, session: this.#loginSession.id });
    this.#logger.debug("logged in");
    return true;
  }

  /** Throws where the account has too many sessions, or may no longer have any. */
  #register({ id, account }: Session, method: LoginMethod, credential: Credential | undefined): void {
    const { registry, client } = this.#options;
    this.#leave = registry?.admit({
      id,
      account,
      ...client,
      protocol: "sftp",
      method,
      credential,
      since: Date.now(),
      end: (reason, detail) => this.end(reason, detail),
    });
  }

  #openSession(account: string): Session {
    const { sessions, client } = this.#options;
    const session = sessions.open({ account, clientAddress: client.address, protocol: "sftp" });
    this.#sessions.add(session);
    return session;
  }

  #startSubsystem(ssh: Connection, channel: ServerChannel): void {
    const { startSubsystem, config, observer } = this.#options;
    // ssh2 refuses channels before the login; after the end nothing new starts.
    if (this.#account === undefined || this.#ended !== undefined) {
      channel.close();
      return;
    }
    let session: Session;
    try {
      session = this.#loginSession ?? this.#openSession(this.#account);
      this.#loginSession = undefined;
    } catch (error) {
      refuseWith(channel, `${asLongshoreError(error, "the session could not be opened").message}\r\n`);
      return;
    }
    const subsystem = startSubsystem({
      client: ssh,
      channel,
      socket: this.#socket,
      session,
      settings: config.snapshot().site.sftp,
      logger: this.#logger,
      observer,
    });
    this.#subsystems.add(subsystem);
    channel.once("close", () => {
      this.#activeAt = Math.max(this.#activeAt, subsystem.lastActivity);
      this.#subsystems.delete(subsystem);
      void this.#endSession(session, "channel closed");
    });
  }

  /** Resolves when the session's last commit is done. Never rejects. */
  async #endSession(session: Session, reason: string): Promise<void> {
    try {
      await session.end(reason);
    } catch (error) {
      this.#logger.error("a session did not end cleanly", { error: asLongshoreError(error, "end").message });
    }
    this.#sessions.delete(session);
  }

  /**
   * ssh2 has said its goodbye and thrown its ciphers away when it tells of an error, so that nothing more may be sent
   * through it; and it would wait for ever for the client to close the socket.
   */
  #onSshError(error: Error & { level?: string }): void {
    // The socket's own listener has noted it.
    if (error.level === "socket") return;
    const handshake = error.level === "handshake" || this.#account === undefined;
    this.#end(handshake ? "handshake" : "protocol", error.message, undefined);
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#grace);
    const options = this.#options;
    options.release();
    this.#leave?.();
    this.#note("client", this.#account === undefined ? "gone before a login" : "closed by the client");
    const { reason, detail } = this.#ended ?? { reason: "client" as const, detail: "" };
    let openHandles = 0;
    for (const subsystem of this.#subsystems) {
      openHandles += subsystem.openHandles;
      subsystem.end(detail);
    }
    const { bytesRead, bytesWritten } = this.#socket;
    const silent = bytesRead === 0 && (reason === "client" || reason === "lost");
    // A balancer or a monitor that connects and hangs up, every two seconds: not worth a line each.
    this.#logger[silent ? "debug" : "info"]("connection ended", {
      reason,
      detail,
      port: options.client.port,
      bytesIn: bytesRead,
      bytesOut: bytesWritten,
      openHandles,
      ms: Math.round(monotonicMs() - this.#startedAt),
    });
    options.observer.connectionClosed(reason);
    if (this.#account !== undefined) {
      const seconds = Math.round(monotonicMs() - this.#startedAt) / 1_000;
      const { address } = options.client;
      options.observer.loggedOut?.({
        account: this.#account,
        address,
        session: this.#loginId,
        reason,
        detail,
        seconds,
        bytesIn: bytesRead,
        bytesOut: bytesWritten,
      });
    }
    await Promise.all([...this.#sessions].map((session) => this.#endSession(session, detail)));
    options.onGone(this);
  }
}
