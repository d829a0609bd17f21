import { connect, createServer, type Server, type Socket } from "node:net";

/** `up` is from the client to the server, `down` the way back. */
export type Direction = "up" | "down" | "both";

/**
 * A TCP proxy with faults. Stalled, it keeps connections open and accepts new ones but passes no byte on: what a client
 * sees of a pulled cable, a black-holing firewall or a stopped host.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #target: { host: string; port: number };
  readonly #pairs = new Set<Pair>();
  readonly #stalled = { up: false, down: false };
  #delayMs = 0;

  private constructor(server: Server, target: { host: string; port: number }) {
    this.#server = server;
    this.#target = target;
  }

  /** Listens on a free loopback port and leads to `target` (`host:port`). */
  static async start(target: string): Promise<TcpProxy> {
    const url = new URL(`tcp://${target.replace(/^https?:\/\//, "")}`);
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(server, { host: url.hostname, port: Number(url.port) });
    server.on("connection", (client) => proxy.#accept(client));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port: 0, host: "127.0.0.1" }, resolve);
    });
    return proxy;
  }

  /** `127.0.0.1:port` to give to the client. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy is closed");
    return address.port;
  }

  /** How many connections are open now. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Passes nothing on any more, but loses nothing: `resume()` delivers it late. */
  stall(direction: Direction = "both"): void {
    this.#set(direction, true);
  }

  resume(direction: Direction = "both"): void {
    this.#set(direction, false);
  }

  /** Breaks all connections with a reset. New ones are accepted as before. */
  cut(): void {
    for (const pair of this.#pairs) pair.destroy();
  }

  /** Holds each chunk back for `ms` milliseconds, each way. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #set(direction: Direction, stalled: boolean): void {
    if (direction !== "down") this.#stalled.up = stalled;
    if (direction !== "up") this.#stalled.down = stalled;
    for (const pair of this.#pairs) pair.flush();
  }

  #accept(client: Socket): void {
    const server = connect({ ...this.#target, allowHalfOpen: true });
    const pair = new Pair(client, server, {
      up: () => this.#stalled.up,
      down: () => this.#stalled.down,
      delayMs: () => this.#delayMs,
      gone: () => this.#pairs.delete(pair),
    });
    this.#pairs.add(pair);
  }
}

interface Faults {
  up(): boolean;
  down(): boolean;
  delayMs(): number;
  gone(): void;
}

class Pair {
  readonly #sockets: readonly [Socket, Socket];
  readonly #lanes: readonly [Lane, Lane];
  readonly #gone: () => void;

  constructor(client: Socket, server: Socket, faults: Faults) {
    this.#sockets = [client, server];
    this.#gone = faults.gone;
    this.#lanes = [
      new Lane(client, server, faults.up, faults.delayMs),
      new Lane(server, client, faults.down, faults.delayMs),
    ];
    for (const socket of this.#sockets) {
      socket.setNoDelay(true);
      // An abrupt end of either side ends the other one too, but not through a stalled cable: that hides it.
      socket.on("error", () => this.#breakUnlessStalled(faults));
      socket.on("close", () => this.#breakUnlessStalled(faults));
    }
  }

  flush(): void {
    for (const lane of this.#lanes) lane.flush();
    if (this.#sockets.some((socket) => socket.destroyed)) this.destroy();
  }

  destroy(): void {
    for (const socket of this.#sockets) {
      if (socket.destroyed) continue;
      // a reset of a socket that was ended makes Node 20 spin at exit (Environment::CleanupHandles)
      if (socket.connecting || socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
    this.#gone();
  }

  #breakUnlessStalled(faults: Faults): void {
    if (!faults.up() && !faults.down()) this.destroy();
  }
}

/** One way of one connection. */
class Lane {
  readonly #to: Socket;
  readonly #stalled: () => boolean;
  readonly #held: (Buffer | "end")[] = [];

  constructor(from: Socket, to: Socket, stalled: () => boolean, delayMs: () => number) {
    this.#to = to;
    this.#stalled = stalled;
    const put = (item: Buffer | "end") => {
      const ms = delayMs();
      const pass = () => {
        this.#held.push(item);
        this.flush();
      };
      // Equal delays keep their order: timers of one duration fire in the order of their making.
      if (ms > 0) setTimeout(pass, ms);
      else pass();
    };
    from.on("data", put);
    from.on("end", () => put("end"));
  }

  flush(): void {
    if (this.#stalled()) return;
    for (const item of this.#held.splice(0)) {
      if (this.#to.destroyed) return;
      if (item === "end") this.#to.end();
      else this.#to.write(item);
    }
  }
}
