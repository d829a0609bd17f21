import { createServer, type Server, type Socket } from "node:net";
import { limitKey, normalizeAddress, parseNetworks } from "#lib/addresses.js";
import type { Logger } from "#lib/logger.js";
import type { ConnectionObserver, RefusalReason } from "../observer.js";
import { createLogThrottle } from "./log-throttle.js";
import { type Endpoint, type ProxyHeader, ProxyHeaderReader } from "./proxy-header.js";
import { withOwnReads } from "./reads.js";

/** From the connection to the whole PROXY header, in milliseconds. HAProxy sends it with its first segment. */
const DEFAULT_DEADLINE_MS = 3_000;
/** Connections that the kernel holds while a burst is accepted (it also caps this at net.core.somaxconn). */
const BACKLOG = 1_024;

export interface ListenerOptions {
  readonly host: string;
  /** 0: any free port; `listen` tells which. */
  readonly port: number;
  /**
   * The balancers' networks (CIDR). Given: a PROXY v2 header is required, and only they may connect; anyone else could
   * lie about the client's address. Absent: plain connections.
   */
  readonly balancers?: readonly string[];
  /** From the connection to its whole PROXY header, in milliseconds. Default: 3,000. */
  readonly deadlineMs?: number;
  /** Asked at each connection, because they change without a restart. */
  readonly limits: () => { readonly maxUnauthenticated: number; readonly maxUnauthenticatedPerAddress: number };
  /** Why this client isn't taken at all, asked before anything is spent on it; undefined: it is. Default: all are. */
  readonly refusal?: (address: string) => "banned" | "denied" | undefined;
  /** Whether partners are let in at all: not by a passive node, to which no balancer leads. Default: they are. */
  readonly takes?: () => boolean;
  /**
   * The socket comes paused, with every byte behind the PROXY header still in it, and with an `error` listener. `client`
   * is the client's own address (P9). `release` gives the place among the unauthenticated back: at the login, or by
   * itself when the socket closes; more calls do nothing.
   */
  readonly onConnection: (socket: Socket, client: Endpoint, release: () => void) => void;
  /** A balancer's own connection (PROXY command LOCAL): a health check. Default: held silently until it hangs up. */
  readonly onHealthCheck?: (socket: Socket) => void;
  readonly logger: Logger;
  readonly observer: ConnectionObserver;
}

export interface Listener {
  /** Resolves with the address in use, once connections are accepted. */
  listen(): Promise<Endpoint>;
  /** Accepts nothing more. Connections that were accepted go on. Idempotent. */
  close(): Promise<void>;
  /** Connections that count as not yet authenticated. */
  readonly unauthenticated: number;
}

/** Accepts partners' connections, takes the PROXY header off, and keeps the limits on those not yet logged in. */
export function createListener(options: ListenerOptions): Listener {
  const { logger, observer } = options;
  const deadlineMs = options.deadlineMs ?? DEFAULT_DEADLINE_MS;
  const balancers = options.balancers === undefined ? undefined : parseNetworks(options.balancers);
  const mayLog = createLogThrottle();
  const perAddress = new Map<string, number>();
  let unauthenticated = 0;

  /** `who`: the client, or the peer while the client's address isn't known. */
  function refuse(
    socket: Socket,
    reason: RefusalReason,
    message: string,
    who: { readonly client: string } | { readonly peer: string },
  ): void {
    observer.connectionRefused(reason);
    const extra = mayLog();
    if (extra !== undefined) logger.warn(message, { ...extra, ...who, reason });
    // What was written before is let out first.
    socket.destroySoon();
  }

  /** Counts a connection against the limits; undefined where it was refused. */
  function takePlace(socket: Socket, address: string): (() => void) | undefined {
    const limits = options.limits();
    if (unauthenticated >= limits.maxUnauthenticated) {
      const message = "connection refused: too many are not logged in (sftp.maxUnauthenticated)";
      refuse(socket, "limit-total", message, { client: address });
      return undefined;
    }
    const key = limitKey(address);
    const held = perAddress.get(key) ?? 0;
    if (held >= limits.maxUnauthenticatedPerAddress) {
      const message =
        "connection refused: too many of this address are not logged in (sftp.maxUnauthenticatedPerAddress)";
      refuse(socket, "limit-address", message, { client: address });
      return undefined;
    }
    unauthenticated++;
    perAddress.set(key, held + 1);
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      unauthenticated--;
      const now = (perAddress.get(key) ?? 1) - 1;
      if (now === 0) perAddress.delete(key);
      else perAddress.set(key, now);
    };
    socket.once("close", release);
    return release;
  }

  function handOver(socket: Socket, client: Endpoint): void {
    if (options.takes?.() === false) {
      // A server may send lines before its identification (RFC 4253, section 4.2): `ssh -v` shows this one.
      socket.write("This node is passive: connect to the site's own address.\r\n");
      const message = "connection refused: this node is passive; partners come through the site's own address";
      refuse(socket, "passive", message, { client: client.address });
      return;
    }
    const refusal = options.refusal?.(client.address);
    if (refusal !== undefined) {
      refuse(socket, refusal, `connection refused: the address is ${refusal}`, { client: client.address });
      return;
    }
    const release = takePlace(socket, client.address);
    if (release === undefined) return;
    options.onConnection(socket, client, release);
  }

  function onHeader(socket: Socket, header: ProxyHeader, balancer: string): void {
    if (header.command === "local") {
      if (options.onHealthCheck !== undefined) options.onHealthCheck(socket);
      else holdSilently(socket, deadlineMs);
      return;
    }
    if (!("source" in header)) {
      // Section 2.2 leaves it to the receiver to reject these. The balancer's address must never stand in for a client's
      // (P9): a ban on it would lock out everybody.
      refuse(socket, "proxy-header", `PROXY header without a client address (${header.family})`, { peer: balancer });
      return;
    }
    handOver(socket, header.source);
  }

  function readHeader(socket: Socket, balancer: string): void {
    const reader = new ProxyHeaderReader();
    const stop = () => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("close", stop);
    };
    const timer = setTimeout(() => {
      stop();
      if (socket.bytesRead === 0) {
        // A balancer's bare connection, and no client behind it yet: not worth a line.
        observer.connectionRefused("proxy-deadline");
        socket.destroy();
      } else refuse(socket, "proxy-deadline", `no whole PROXY header within ${deadlineMs} ms`, { peer: balancer });
    }, deadlineMs);
    const onData = (chunk: Buffer) => {
      const step = reader.push(chunk);
      if (step.state === "more") return;
      stop();
      // Paused before the bytes go back, so that they wait for whoever reads next.
      socket.pause();
      if (step.state === "refused") {
        refuse(socket, "proxy-header", `connection refused: ${step.reason}`, { peer: balancer });
        return;
      }
      if (step.rest.length > 0) socket.unshift(step.rest);
      onHeader(socket, step.header, balancer);
    };
    // A health check that connects and hangs up without a byte ends here, silently.
    socket.once("close", stop);
    socket.on("data", onData);
    socket.resume();
  }

  function accept(accepted: Socket): void {
    const socket = withOwnReads(accepted);
    // Node throws an 'error' without a listener out of the event loop: the process would end by one reset connection.
    socket.on("error", (error) => logger.debug("socket error", { error: error.message }));
    const address = normalizeAddress(socket.remoteAddress ?? "");
    // Undefined once the peer is gone: it reset the connection while it waited in the backlog.
    if (address === undefined) {
      socket.destroy();
      return;
    }
    if (balancers === undefined) handOver(socket, { address, port: socket.remotePort ?? 0 });
    else if (balancers.includes(address)) readHeader(socket, address);
    else refuse(socket, "untrusted", "connection refused: it comes from none of the balancers", { peer: address });
  }

  const server = createServer({ pauseOnConnect: true, noDelay: true }, accept);
  let closed = false;
  return {
    listen: () => listen(server, options.host, options.port, logger),
    async close() {
      if (closed) return;
      closed = true;
      if (server.listening) server.close();
    },
    get unauthenticated() {
      return unauthenticated;
    },
  };
}

function listen(server: Server, host: string, port: number, logger: Logger): Promise<Endpoint> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off("error", reject);
      // E.g. EMFILE at accept: the listener goes on, and the operator hears of it.
      server.on("error", (error) => logger.error("listener error", { error: error.message }));
      const bound = server.address();
      if (bound === null || typeof bound === "string") reject(new Error(`listening on no TCP address: ${bound}`));
      else resolve({ address: bound.address, port: bound.port });
    });
  });
}

/** For a peer that owes us nothing: reads and drops what it sends, and lets it hang up until `ms` have passed. */
export function holdSilently(socket: Socket, ms: number): void {
  const timer = setTimeout(() => socket.destroy(), ms);
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
}
