import { type AddressInfo, createServer, type Socket } from "node:net";
import type { NodeState } from "#cluster/contract.js";
import { LongshoreError, systemCode } from "#lib/errors.js";

export interface AgentOptions {
  readonly host: string;
  /** 0: any free one; `listen` tells which. */
  readonly port: number;
  readonly state: () => NodeState;
}

export interface Agent {
  /** Resolves with the port. Throws a LongshoreError that names the setting. */
  listen(): Promise<number>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** HAProxy asks several times a second, from each balancer, and takes the answer at once. */
const ANSWER_MS = 2_000;
const MAX_CONNECTIONS = 128;

/**
 * HAProxy's agent check: one line, then the end. It only says whether new sessions are welcome; whether the node is alive
 * is the health check's to say. A cut-off node gets new sessions only as the balancer's last resort. `ready` takes back an
 * earlier `drain`, which HAProxy would else keep over the node's restart. A passive node's sessions, if it has any left,
 * go on as a draining one's do.
 */
export function agentAnswer(state: NodeState): string {
  return state === "draining" || state === "cut-off" || state === "passive" ? "drain\n" : "ready up\n";
}

export function createAgent(options: AgentOptions): Agent {
  const { host, port, state } = options;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.setTimeout(ANSWER_MS, () => socket.destroy());
    // What HAProxy may send (agent-send) is of no interest, but unread it would turn our end into a reset.
    socket.resume();
    socket.end(agentAnswer(state()));
  });
  server.maxConnections = MAX_CONNECTIONS;
  let closing: Promise<void> | undefined;
  return {
    listen: () =>
      new Promise((resolve, reject) => {
        server.once("error", (error) => {
          const taken = systemCode(error) === "EADDRINUSE";
          const why = taken
            ? `port ${port} is taken on ${host}: give "agent" another one`
            : `can't listen at ${host}:${port}`;
          reject(new LongshoreError("io", `agent: ${why}`, error));
        });
        server.listen(port, host, () => {
          server.removeAllListeners("error");
          server.on("error", () => {});
          resolve((server.address() as AddressInfo).port);
        });
      }),
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
      return closing;
    },
  };
}
