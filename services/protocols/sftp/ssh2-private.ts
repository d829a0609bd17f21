import type { Socket } from "node:net";
import type { Connection } from "ssh2";

/**
 * The parts of ssh2's server connection that have no public name. This is the only place that names them; ssh2 is pinned
 * exactly in package.json, and the tests of the connection fail where one of these moved.
 */
interface PrivateConnection {
  readonly _sock: Socket;
  readonly _protocol: PrivateProtocol;
}

interface PrivateProtocol {
  ping(): void;
  serviceAccept(service: string): void;
  /** One function per message type, made anew for each connection. */
  readonly _handlers: { SERVICE_REQUEST(protocol: PrivateProtocol, service: string): void };
}

function privatePartsOf(connection: Connection): PrivateConnection {
  return connection as unknown as PrivateConnection;
}

/** The socket given to `injectSocket`: ssh2's `info` only repeats its addresses, and those are the balancer's. */
export function socketOf(connection: Connection): Socket {
  return privatePartsOf(connection)._sock;
}

/**
 * Sends `keepalive@openssh.com`, which every client must answer, if only with a failure (RFC 4254, section 4). ssh2's own
 * keepalive timer counts a client as silent while *we* have paused its socket, so we keep the time ourselves.
 */
export function sendKeepalive(connection: Connection): void {
  privatePartsOf(connection)._protocol.ping();
}

/**
 * Lets ssh2's first write vanish if it is `identification`: ssh2 sends it when it gets the socket, and by then ours has
 * long been sent. Any other write passes, so a changed ssh2 shows in a failed handshake and never in lost data.
 */
export function swallowIdentification(socket: Socket, identification: string): void {
  const write = socket.write;
  socket.write = (chunk: Uint8Array | string, ...rest: unknown[]): boolean => {
    socket.write = write;
    if (Buffer.isBuffer(chunk) && chunk.toString("latin1") === identification) return true;
    return Reflect.apply(write, socket, [chunk, ...rest]);
  };
}

/**
 * Lets a client ask for the authentication service again before its login, as sshd does. paramiko asks before each
 * credential that it tries; ssh2 would cut it off at the second, so that an agent's first wrong key ended the login.
 */
export function allowRepeatedServiceRequest(connection: Connection): void {
  const handlers = privatePartsOf(connection)._protocol._handlers;
  const first = handlers.SERVICE_REQUEST;
  let asked = false;
  handlers.SERVICE_REQUEST = (protocol, service) => {
    if (asked && service === "ssh-userauth" && !connection.authenticated) protocol.serviceAccept(service);
    else first(protocol, service);
    asked = true;
  };
}
