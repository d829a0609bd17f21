import { connect, isIPv6, type Socket } from "node:net";

/** What a PROXY v2 header says of the client. */
export interface ProxyHeader {
  readonly source: string;
  readonly sourcePort?: number;
  readonly destination?: string;
  readonly destinationPort?: number;
}

export const PROXY_SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

function ipv4(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

function ipv6(address: string): Buffer {
  const [head = "", tail] = address.split("::");
  const words = (part: string) => (part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16)));
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const all = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
  const out = Buffer.alloc(16);
  for (const [at, word] of all.entries()) out.writeUInt16BE(word, at * 2);
  return out;
}

/** A PROXY protocol v2 header (haproxy's doc/proxy-protocol.txt, 2.2): command PROXY over TCP; `tlvs` go behind. */
export function proxyHeader(header: ProxyHeader, tlvs: Buffer = Buffer.alloc(0)): Buffer {
  const six = isIPv6(header.source);
  const destination = header.destination ?? (six ? "::1" : "127.0.0.1");
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(header.sourcePort ?? 40_000, 0);
  ports.writeUInt16BE(header.destinationPort ?? 22, 2);
  const convert = six ? ipv6 : ipv4;
  const body = Buffer.concat([convert(header.source), convert(destination), ports, tlvs]);
  const fixed = Buffer.from([0x21, six ? 0x21 : 0x11, body.length >> 8, body.length & 0xff]);
  return Buffer.concat([PROXY_SIGNATURE, fixed, body]);
}

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  /** Sent first: this is how a test reaches one node, past the balancer. */
  readonly proxy?: ProxyHeader;
  readonly localAddress?: string;
  readonly deadlineMs?: number;
}

/** A TCP connection, its PROXY header already sent. An error past this point closes the socket and is not thrown. */
export function dial(options: DialOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: options.host,
      port: options.port,
      noDelay: true,
      ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    });
    const timer = setTimeout(() => socket.destroy(new Error("no connection in time")), options.deadlineMs ?? 10_000);
    socket.once("error", reject);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      socket.on("error", () => undefined);
      if (options.proxy !== undefined) socket.write(proxyHeader(options.proxy));
      resolve(socket);
    });
    socket.once("close", () => clearTimeout(timer));
  });
}

/** What the peer sent until it closed (or reset), or until the deadline, when we close. */
export function drain(socket: Socket, deadlineMs: number): Promise<{ received: Buffer; closedByPeer: boolean }> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let closedByPeer = true;
    const timer = setTimeout(() => {
      closedByPeer = false;
      socket.destroy();
    }, deadlineMs);
    socket.on("data", (data: Buffer) => parts.push(data));
    socket.once("end", () => socket.destroy());
    const finish = () => {
      clearTimeout(timer);
      resolve({ received: Buffer.concat(parts), closedByPeer });
    };
    if (socket.closed) finish();
    else socket.once("close", finish);
  });
}
