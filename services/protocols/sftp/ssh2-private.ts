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
  /** What our KEXINIT says, the same object for all connections of a server. */
  _offer: Offer;
}

type Names = { readonly array: readonly string[] };
type OneWay = Readonly<Record<"cipher" | "mac" | "compress" | "lang", Names>>;
interface Offer {
  readonly lists: { readonly kex: Names; readonly serverHostKey: Names; readonly cs: OneWay; readonly sc: OneWay };
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

const trimmed = new WeakMap<Offer, Map<string, Offer>>();

/**
 * Takes a host key algorithm out of what this connection will offer; to be called before the key exchange, when ssh2 shows the
 * connection. ssh2 offers `ssh-rsa` for every RSA key, and the client's order decides: JSch, which asks for it first and would
 * take ECDSA as well, then ended up with what we refuse.
 */
export function leaveHostKeyOut(connection: Connection, algorithm: string): void {
  const protocol = privatePartsOf(connection)._protocol;
  const whole = protocol._offer;
  const known = trimmed.get(whole) ?? new Map<string, Offer>();
  trimmed.set(whole, known);
  let offer = known.get(algorithm);
  if (offer === undefined) {
    const { kex, serverHostKey, cs, sc } = whole.lists;
    const names = (way: OneWay) =>
      Object.fromEntries(Object.entries(way).map(([list, { array }]) => [list, [...array]]));
    offer = Reflect.construct(whole.constructor, [
      {
        kex: [...kex.array],
        serverHostKey: serverHostKey.array.filter((name) => name !== algorithm),
        cs: names(cs),
        sc: names(sc),
      },
    ]) as Offer;
    known.set(algorithm, offer);
  }
  protocol._offer = offer;
}
