import type { Socket } from "node:net";
import ssh2, { type Connection, type Server } from "ssh2";
import type { Verifier } from "#auth/contract.js";
import type { ConfigView } from "#config/contract.js";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { Sessions } from "#sessions/contract.js";
import type { SessionRegistry } from "#sessions/registry.js";
import { holdSilently } from "../net/listener.js";
import type { Endpoint } from "../net/proxy-header.js";
import type { ConnectionObserver } from "../observer.js";
import { algorithms } from "./algorithms.js";
import { IDENTIFICATION, SftpConnection, SOFTWARE } from "./connection.js";
import { NATIVE_CRYPTO_MEND, nativeCrypto } from "./native.js";
import { socketOf } from "./ssh2-private.js";
import { type SftpObserver, startSftpSubsystem } from "./subsystem.js";

const UPKEEP_MS = 1_000;
/** How long a balancer's health check may look at our identification, in milliseconds. */
const HEALTH_CHECK_MS = 3_000;

export interface SftpServerOptions {
  readonly config: ConfigView;
  readonly verifier: Verifier;
  readonly sessions: Sessions;
  /** Where sessions are known to those who may end them. Default: nowhere. */
  readonly registry?: SessionRegistry;
  readonly logger: Logger;
  readonly observer: ConnectionObserver & SftpObserver;
  /** Default: the SFTP subsystem. */
  readonly startSubsystem?: typeof startSftpSubsystem;
  /** How often connections are looked after (keepalive, idle time, new keys), in milliseconds. Default: 1,000. */
  readonly upkeepMs?: number;
  /** Bytes, both ways together, after which a connection's keys are changed. Default: 2^30 (RFC 4253, section 9). */
  readonly rekeyBytes?: number;
}

export interface SftpServer {
  /** Takes over a connection from net/listener.ts: paused, with its PROXY header taken off. */
  accept(socket: Socket, client: Endpoint, release: () => void): void;
  /** For the balancer's own connections: shows that SSH is spoken here, and counts as nothing. */
  greet(socket: Socket): void;
  /** Connections, logged in or not. */
  connections(): number;
  /** Whether any client is at something: see SftpConnection.busy. */
  busy(quietMs: number): boolean;
  clients(): readonly ConnectedClient[];
  /** Ends the connections that aren't logged in (the registry knows the others) and whose address is banned. */
  endBanned(isBanned: (address: string) => boolean): void;
  /** Accepts nothing new; what runs goes on. Resolves when no connection is left. */
  drain(): Promise<void>;
  /** Ends every connection. Resolves when all are gone, their sessions' last commits included. Idempotent. */
  close(reason: string): Promise<void>;
}

/** Who is connected, by the address that counts: the client's own, also behind a balancer. */
export interface ConnectedClient extends Endpoint {
  /** Undefined before the login. */
  readonly account: string | undefined;
}

/** An ssh2 server of one set of host keys and algorithms. It listens nowhere: sockets are handed to it. */
interface Generation {
  readonly hostKeys: readonly string[];
  readonly legacy: boolean;
  readonly server: Server;
}

/**
 * SFTP for partners. Settings, host keys and the legacy switch count from the next connection on, without a restart; a
 * connection under way keeps the host keys that it was promised.
 */
export function createSftpServer(options: SftpServerOptions): SftpServer {
  const { config, logger, observer } = options;
  const startSubsystem = options.startSubsystem ?? startSftpSubsystem;
  const connections = new Set<SftpConnection>();
  /** Sockets that ssh2 has, until it shows us its side of them. */
  const handed = new WeakMap<Socket, (connection: Connection) => void>();
  let generation: Generation | undefined;
  let accepting = true;
  let whenEmpty: (() => void)[] = [];

  if (!nativeCrypto()) {
    logger.warn("ssh2's native crypto is not loaded: SFTP runs at half its speed", { mend: NATIVE_CRYPTO_MEND });
  }
  // ssh2's own keepalive is off: ours knows when the silence is of our making (upkeep.ts).
  ssh2.Server.KEEPALIVE_CLIENT_INTERVAL = 0;

  const upkeep = setInterval(() => {
    const now = monotonicMs();
    for (const connection of connections) connection.upkeep(now);
  }, options.upkeepMs ?? UPKEEP_MS);
  upkeep.unref();

  /** The server for the configuration in force. Where new host keys are unusable, the ones before stay. */
  function currentGeneration(): Generation | undefined {
    const { hostKeys, site } = config.snapshot();
    const legacy = site.sftp.legacyAlgorithms;
    if (generation !== undefined && generation.legacy === legacy && sameKeys(generation.hostKeys, hostKeys)) {
      return generation;
    }
    try {
      if (hostKeys.length === 0) throw new Error("the configuration has none");
      const server = new ssh2.Server({ hostKeys: [...hostKeys], ident: SOFTWARE, algorithms: algorithms(legacy) });
      server.on("connection", (connection: Connection) => handed.get(socketOf(connection))?.(connection));
      server.on("error", (error: Error) => logger.error("SSH server error", { error: error.message }));
      generation = { hostKeys, legacy, server };
    } catch (error) {
      logger.error("unusable SSH host keys; the ones before stay in use", {
        error: error instanceof Error ? error.message : String(error),
      });
    }
    return generation;
  }

  function whenNoneIsLeft(): Promise<void> {
    if (connections.size === 0) return Promise.resolve();
    return new Promise((resolve) => whenEmpty.push(resolve));
  }

  function onGone(connection: SftpConnection): void {
    connections.delete(connection);
    if (connections.size > 0) return;
    const waiting = whenEmpty;
    whenEmpty = [];
    for (const resolve of waiting) resolve();
  }

  return {
    accept(socket, client, release) {
      const current = accepting ? currentGeneration() : undefined;
      if (current === undefined) {
        observer.connectionRefused("draining");
        release();
        socket.destroy();
        return;
      }
      observer.connectionOpened();
      const connection = new SftpConnection({
        socket,
        client,
        release,
        startSsh(raw, onSsh) {
          handed.set(raw, onSsh);
          current.server.injectSocket(raw);
        },
        legacyAlgorithms: current.legacy,
        config,
        verifier: options.verifier,
        sessions: options.sessions,
        registry: options.registry,
        startSubsystem,
        logger,
        observer,
        rekeyBytes: options.rekeyBytes,
        onGone,
      });
      connections.add(connection);
    },
    greet(socket) {
      if (accepting) socket.write(IDENTIFICATION);
      holdSilently(socket, HEALTH_CHECK_MS);
    },
    connections: () => connections.size,
    busy(quietMs) {
      const now = monotonicMs();
      return [...connections].some((connection) => connection.busy(now, quietMs));
    },
    clients: () => [...connections].map(({ client, account }) => ({ ...client, account })),
    endBanned(isBanned) {
      for (const connection of connections) {
        if (connection.account === undefined && isBanned(connection.client.address)) {
          connection.end("banned", "the address was banned");
        }
      }
    },
    drain() {
      accepting = false;
      return whenNoneIsLeft();
    },
    async close(reason) {
      accepting = false;
      for (const connection of connections) connection.end("server", reason);
      await whenNoneIsLeft();
      clearInterval(upkeep);
    },
  };
}

function sameKeys(left: readonly string[], right: readonly string[]): boolean {
  return left === right || (left.length === right.length && left.every((key, index) => key === right[index]));
}
