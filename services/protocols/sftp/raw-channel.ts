import { createRequire } from "node:module";
import type { Socket } from "node:net";
import type { Connection, ServerChannel } from "ssh2";

/**
 * The private parts of ssh2 1.17 that bulk downloads use: its cipher, the channel's outgoing window, and whether a key
 * exchange is under way. Nothing else in Longshore may touch them. ssh2 is pinned exactly; what is found is compared with
 * what is expected, the ciphers are tried at start (`selfTest`), and where anything differs the public `channel.write`
 * does the work, slower.
 */

interface PrivateCipher {
  outSeqno: number;
  readonly _dead: boolean;
  /** ssh2's native cipher: encrypts one packet in place and puts the tag into its last bytes. */
  readonly _instance?: { encrypt(packet: Buffer, sequence: number): void };
  readonly _encBlockLen?: number;
  readonly _aadLen?: number;
  readonly _macLen?: number;
  readonly _macActualLen?: number;
}

interface PrivateProtocol {
  readonly _kexinit: unknown;
  readonly _cipher: PrivateCipher;
  readonly _destruct: unknown;
  readonly _packetRW: { readonly write: object };
}

interface PrivateClient {
  readonly _protocol: PrivateProtocol;
  readonly _sock: Socket;
}

interface PrivateChannel {
  readonly outgoing: { readonly id: number; window: number; readonly packetSize: number; readonly state: string };
  _waitWindow: boolean;
  _chunk: unknown;
  _chunkcb: unknown;
}

/** What a packet looks like under the cipher in force; equal shapes are the same object. */
export interface PacketShape {
  readonly kind: "aes-gcm" | "chacha20-poly1305" | "generic";
  /** What the encrypted part is a multiple of. */
  readonly block: number;
  /** Leading bytes that don't count towards that: the length field, where it isn't part of the encrypted blocks. */
  readonly apart: number;
  /** Bytes of the tag behind the padding. */
  readonly tag: number;
}

/** Packet length, padding length, message number, channel, data length: what stands before a CHANNEL_DATA's data. */
export const PACKET_HEAD = 4 + 1 + 1 + 4 + 4;
const CHANNEL_DATA = 94;
/** Message number, channel and data length. */
const MESSAGE_HEAD = 9;

const GCM: PacketShape = { kind: "aes-gcm", block: 16, apart: 4, tag: 16 };
const CHACHA: PacketShape = { kind: "chacha20-poly1305", block: 8, apart: 4, tag: 16 };
const generic = new Map<string, PacketShape>();

function genericShape(cipher: PrivateCipher): PacketShape | undefined {
  const { _encBlockLen: block, _aadLen: apart, _macLen: tag, _macActualLen: actual } = cipher;
  // A truncated MAC leaves a gap between packets: not worth a case of its own.
  if (block === undefined || apart === undefined || tag === undefined || tag !== actual) return undefined;
  const key = `${block}:${apart}:${tag}`;
  let shape = generic.get(key);
  if (shape === undefined) {
    shape = { kind: "generic", block, apart, tag };
    generic.set(key, shape);
  }
  return shape;
}

function shapeOf(cipher: PrivateCipher): PacketShape | undefined {
  if (typeof cipher._instance?.encrypt !== "function" || typeof cipher.outSeqno !== "number") return undefined;
  switch (cipher.constructor.name) {
    case "AESGCMCipherBinding":
      return GCM;
    case "ChaChaPolyCipherBinding":
      return CHACHA;
    case "GenericCipherBinding":
      return genericShape(cipher);
    default:
      return undefined;
  }
}

/** RFC 4253, section 6: at least four bytes, up to a whole number of blocks. */
export function paddingBytes(shape: PacketShape, data: number): number {
  const bytes = PACKET_HEAD + data - shape.apart;
  const padding = shape.block - (bytes % shape.block);
  return padding < 4 ? padding + shape.block : padding;
}

/** A packet's whole size on the wire. */
export function packetBytes(shape: PacketShape, data: number): number {
  return PACKET_HEAD + data + paddingBytes(shape, data) + shape.tag;
}

/** Writes everything of a CHANNEL_DATA packet but its data and padding, at `at`. */
export function writePacketHead(to: Buffer, at: number, shape: PacketShape, channel: number, data: number): void {
  const padding = paddingBytes(shape, data);
  to.writeUInt32BE(1 + MESSAGE_HEAD + data + padding, at);
  to[at + 4] = padding;
  to[at + 5] = CHANNEL_DATA;
  to.writeUInt32BE(channel, at + 6);
  to.writeUInt32BE(data, at + 10);
}

/** Encrypts in place, as the cipher's own `encrypt` does, but leaves the sending to the caller. */
function encryptInPlace(cipher: PrivateCipher, packet: Buffer): void {
  // ssh2's `free` drops the OpenSSL context under the native object: using it then would crash the process.
  if (cipher._dead || cipher._instance === undefined) throw new Error("cipher is gone");
  cipher._instance.encrypt(packet, cipher.outSeqno);
  cipher.outSeqno = (cipher.outSeqno + 1) >>> 0;
}

/** A channel whose private parts are as expected. */
export class RawChannel {
  readonly #protocol: PrivateProtocol;
  readonly #channel: PrivateChannel;

  private constructor(protocol: PrivateProtocol, channel: PrivateChannel) {
    this.#protocol = protocol;
    this.#channel = channel;
  }

  /** Undefined where ssh2 isn't as expected: use its public methods then. */
  static of(client: Connection, channel: ServerChannel, socket: Socket): RawChannel | undefined {
    // The one cast into ssh2: it has no public way to its cipher or its window. Checked field by field below.
    const privateClient = client as unknown as Partial<PrivateClient>;
    const privateChannel = channel as unknown as Partial<PrivateChannel>;
    const protocol = privateClient._protocol;
    const outgoing = privateChannel.outgoing;
    if (protocol === undefined || outgoing === undefined || privateClient._sock !== socket) return undefined;
    if (!("_kexinit" in protocol) || typeof protocol._cipher !== "object") return undefined;
    if (typeof protocol._packetRW?.write !== "object") return undefined;
    if (typeof outgoing.window !== "number" || typeof outgoing.packetSize !== "number") return undefined;
    if (typeof outgoing.id !== "number" || typeof outgoing.state !== "string") return undefined;
    if (typeof privateChannel._waitWindow !== "boolean" || !("_chunkcb" in privateChannel)) return undefined;
    return new RawChannel(protocol, privateChannel as PrivateChannel);
  }

  /**
   * A key exchange is under way: RFC 4253, section 7.1 allows no channel data until NEWKEYS. ssh2 emits "handshake" on
   * the client when it is over.
   */
  get rekeying(): boolean {
    return this.#protocol._kexinit !== undefined;
  }

  get open(): boolean {
    return this.#channel.outgoing.state === "open" && this.#protocol._destruct !== undefined;
  }

  /** Bytes of data that the client still takes. */
  get window(): number {
    return this.#channel.outgoing.window;
  }

  /** The most data that the client takes in one packet. */
  get packetSize(): number {
    return this.#channel.outgoing.packetSize;
  }

  get id(): number {
    return this.#channel.outgoing.id;
  }

  /** The shape of packets now; undefined while the fast path can't be used (compression, a cipher without native code). */
  get shape(): PacketShape | undefined {
    if (this.#protocol._packetRW.write.constructor.name !== "PacketWriter") return undefined;
    const shape = shapeOf(this.#protocol._cipher);
    return shape !== undefined && selfTest().has(shape.kind) ? shape : undefined;
  }

  /**
   * Encrypts a packet that `writePacketHead` began, padding included. The caller puts it on the socket in the same turn
   * and in the same order: sequence numbers and counters are those of ssh2's own packets.
   */
  seal(packet: Buffer, data: number): void {
    encryptInPlace(this.#protocol._cipher, packet);
    this.#channel.outgoing.window -= data;
  }

  /**
   * Calls back when the window has grown. Only while ssh2 holds no part of a `channel.write` of its own: it has one place
   * for both.
   */
  onceWindowGrows(callback: () => void): void {
    // ssh2 leaves its last chunk there after sending it, and would send it again.
    this.#channel._chunk = undefined;
    this.#channel._chunkcb = callback;
    this.#channel._waitWindow = true;
  }
}

interface PrivateCrypto {
  readonly CIPHER_INFO: Readonly<Record<string, { keyLen: number; ivLen: number }>>;
  readonly MAC_INFO: Readonly<Record<string, { len: number }>>;
  createCipher(config: object): PrivateCipher;
  createDecipher(config: object): { decrypt(data: Buffer, at: number, length: number): unknown };
}

const TRIALS: ReadonlyArray<readonly [kind: PacketShape["kind"], cipher: string, mac: string | undefined]> = [
  ["aes-gcm", "aes128-gcm@openssh.com", undefined],
  ["chacha20-poly1305", "chacha20-poly1305@openssh.com", undefined],
  ["generic", "aes128-ctr", "hmac-sha2-256-etm@openssh.com"],
];

let working: ReadonlySet<PacketShape["kind"]> | undefined;

/** The kinds of cipher whose packets, encrypted in place by us, ssh2 decrypts again. Tried once, at the first call. */
export function selfTest(): ReadonlySet<PacketShape["kind"]> {
  if (working !== undefined) return working;
  const passed = new Set<PacketShape["kind"]>();
  working = passed;
  let crypto: PrivateCrypto;
  try {
    crypto = createRequire(import.meta.url)("ssh2/lib/protocol/crypto.js") as PrivateCrypto;
  } catch {
    return working;
  }
  for (const [kind, cipher, mac] of TRIALS) {
    try {
      if (roundTrip(crypto, cipher, mac)) passed.add(kind);
    } catch {
      // Not as expected: this kind stays out, and the subsystem says so in the log.
    }
  }
  return working;
}

/** Three packets of different lengths in one buffer, as a slab has them, with padding chosen by us. */
function roundTrip(crypto: PrivateCrypto, name: string, macName: string | undefined): boolean {
  const info = crypto.CIPHER_INFO[name];
  const mac = macName === undefined ? undefined : crypto.MAC_INFO[macName];
  if (info === undefined) return false;
  const key = Buffer.alloc(info.keyLen, 7);
  const iv = () => Buffer.alloc(info.ivLen, 3);
  const macKey = Buffer.alloc(mac?.len ?? 0, 5);
  const sent: Buffer[] = [];
  const cipher = crypto.createCipher({
    outbound: {
      onWrite: () => sent.push(Buffer.alloc(0)),
      seqno: 41,
      cipherInfo: info,
      cipherKey: key,
      cipherIV: iv(),
      macInfo: mac,
      macKey,
    },
  });
  const shape = shapeOf(cipher);
  if (shape === undefined) return false;
  const lengths = [1, 32_000, 77];
  const wire = Buffer.alloc(lengths.reduce((sum, length) => sum + packetBytes(shape, length), 0));
  const wanted: Buffer[] = [];
  let at = 0;
  for (const length of lengths) {
    const end = at + packetBytes(shape, length);
    wire.fill(length & 0xff, at + PACKET_HEAD, at + PACKET_HEAD + length);
    writePacketHead(wire, at, shape, 9, length);
    wanted.push(Buffer.from(wire.subarray(at + 5, at + PACKET_HEAD + length)));
    encryptInPlace(cipher, wire.subarray(at, end));
    at = end;
  }
  const got: Buffer[] = [];
  const decipher = crypto.createDecipher({
    inbound: {
      onPayload: (payload: Buffer) => void got.push(Buffer.from(payload)),
      seqno: 41,
      decipherInfo: info,
      decipherKey: key,
      decipherIV: iv(),
      macInfo: mac,
      macKey,
    },
  });
  decipher.decrypt(wire, 0, wire.length);
  return (
    sent.length === 0 &&
    cipher.outSeqno === 44 &&
    got.length === wanted.length &&
    got.every((payload, index) => wanted[index]?.equals(payload) === true)
  );
}
