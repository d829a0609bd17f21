import { addressFromBytes } from "#lib/addresses.js";

/**
 * The PROXY protocol, version 2 (HAProxy's doc/proxy-protocol.txt, section numbers from there): how the balancer tells us
 * the client's own address (P9). A pure function of the bytes received so far, so that any chunking has one result.
 *
 * Only header bytes are held, at most 536; what follows is handed back and belongs to the protocol behind.
 */

/** Section 2: a header must fit the smallest TCP segment, 536 bytes, to be sent and received in one piece. */
export const MAX_PROXY_HEADER = 536;

/** Section 2.2: the 12-byte signature, the first bytes of every version 2 header. */
const SIGNATURE = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const V1_SIGNATURE = Buffer.from("PROXY");
/** Signature, version and command, family and transport, length (section 2.2). */
const FIXED_BYTES = 16;

/** Bytes of the address block by address family (section 2.2: `union proxy_addr`). */
const ADDRESS_BYTES = { unspecified: 0, ipv4: 12, ipv6: 36, unix: 216 } as const;
type Family = keyof typeof ADDRESS_BYTES;
const FAMILIES: readonly Family[] = ["unspecified", "ipv4", "ipv6", "unix"];

export interface Endpoint {
  /** Normalised (addresses.ts). */
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  /** The balancer speaks for itself, as in a health check. */
  | { readonly command: "local" }
  | {
      readonly command: "proxy";
      readonly family: "ipv4" | "ipv6";
      readonly source: Endpoint;
      readonly destination: Endpoint;
    }
  /** Relayed, but without an IP address. */
  | { readonly command: "proxy"; readonly family: "unix" | "unspecified" };

export type ProxyResult =
  | { readonly state: "more" }
  /** `length`: the header's bytes; what follows isn't ours. */
  | { readonly state: "done"; readonly header: ProxyHeader; readonly length: number }
  | { readonly state: "refused"; readonly reason: string };

const MORE: ProxyResult = { state: "more" };

function refused(reason: string): ProxyResult {
  return { state: "refused", reason };
}

/**
 * Judges a connection's first bytes. Invariant: once the answer isn't "more", more bytes don't change it; each check
 * therefore runs as soon as its byte is there, and in the order of the bytes.
 */
export function parseProxyHeader(bytes: Buffer): ProxyResult {
  if (startsLike(bytes, V1_SIGNATURE) && bytes.length > 0) {
    if (bytes.length < V1_SIGNATURE.length) return MORE;
    return refused('PROXY protocol version 1; set the balancer to version 2 ("send-proxy-v2")');
  }
  if (!startsLike(bytes, SIGNATURE)) return refused('no PROXY protocol header; set the balancer to "send-proxy-v2"');
  if (bytes.length <= 12) return MORE;

  // Byte 13: version in the high half, command in the low one. "Receivers must drop connections presenting unexpected
  // values here" (section 2.2).
  const version = bytes.readUInt8(12) >> 4;
  const command = bytes.readUInt8(12) & 0x0f;
  if (version !== 2) return refused(`PROXY protocol version ${version}, not 2`);
  if (command > 1) return refused(`unknown PROXY command ${command}`);
  if (bytes.length === 13) return MORE;

  // Byte 14: address family, transport. LOCAL: "the receiver must ... discard the protocol block including the family".
  const family = FAMILIES[bytes.readUInt8(13) >> 4];
  const transport = bytes.readUInt8(13) & 0x0f;
  if (command === 1) {
    if (family === undefined) return refused(`unknown PROXY address family ${bytes.readUInt8(13) >> 4}`);
    if (transport > 2) return refused(`unknown PROXY transport ${transport}`);
    if (transport === 2) return refused("a PROXY header for datagrams on a stream");
    if ((transport === 0) !== (family === "unspecified")) {
      return refused("a PROXY header that knows only one of family and transport");
    }
  }
  if (bytes.length < FIXED_BYTES) return MORE;

  const body = bytes.readUInt16BE(14);
  const length = FIXED_BYTES + body;
  if (length > MAX_PROXY_HEADER) return refused(`a PROXY header of ${length} bytes; at most ${MAX_PROXY_HEADER}`);
  const needed = command === 1 && family !== undefined ? ADDRESS_BYTES[family] : 0;
  if (body < needed) return refused(`a PROXY header of ${body} bytes for a ${family} address of ${needed}`);
  if (bytes.length < length) return MORE;

  if (command === 0) return { state: "done", header: { command: "local" }, length };
  if (family === "unspecified" || family === undefined) {
    return { state: "done", header: { command: "proxy", family: "unspecified" }, length };
  }
  const rest = bytes.subarray(FIXED_BYTES + needed, length);
  if (!vectorsFit(rest)) return refused("a PROXY header whose extensions are longer than the header");
  if (family === "unix") return { state: "done", header: { command: "proxy", family }, length };
  return { state: "done", header: { command: "proxy", family, ...endpoints(bytes, family) }, length };
}

/** Whether `bytes` is a beginning of `pattern`, or begins with it. */
function startsLike(bytes: Buffer, pattern: Buffer): boolean {
  const most = Math.min(bytes.length, pattern.length);
  return bytes.compare(pattern, 0, most, 0, most) === 0;
}

function endpoints(bytes: Buffer, family: "ipv4" | "ipv6"): { source: Endpoint; destination: Endpoint } {
  const width = family === "ipv4" ? 4 : 16;
  const at = (index: number) => bytes.subarray(FIXED_BYTES + index * width, FIXED_BYTES + (index + 1) * width);
  const spell = (raw: Buffer) => (family === "ipv4" ? raw.join(".") : addressFromBytes(raw));
  const ports = FIXED_BYTES + 2 * width;
  return {
    source: { address: spell(at(0)), port: bytes.readUInt16BE(ports) },
    destination: { address: spell(at(1)), port: bytes.readUInt16BE(ports + 2) },
  };
}

/**
 * Section 2.2.x: type (1 byte), length (2), value. None changes what we do, so all are skipped; but one that runs past the
 * header's end shows that sender and receiver disagree on where the payload starts.
 */
function vectorsFit(bytes: Buffer): boolean {
  let at = 0;
  while (at < bytes.length) {
    if (bytes.length - at < 3) return false;
    at += 3 + bytes.readUInt16BE(at + 1);
  }
  return at === bytes.length;
}

/** Collects a header from chunks. At most 535 bytes are held between calls. */
export class ProxyHeaderReader {
  #held: Buffer | undefined;

  /** The next chunk. `rest` is what came behind the header, to be given to the protocol; nothing may follow an end. */
  push(
    chunk: Buffer,
  ):
    | { readonly state: "more" }
    | { readonly state: "done"; readonly header: ProxyHeader; readonly rest: Buffer }
    | { readonly state: "refused"; readonly reason: string } {
    const bytes = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    const result = parseProxyHeader(bytes);
    if (result.state === "more") {
      // A copy: a view would keep the socket's whole read buffer alive while a slow sender sits on it.
      this.#held = Buffer.from(bytes);
      return result;
    }
    this.#held = undefined;
    if (result.state === "refused") return result;
    return { state: "done", header: result.header, rest: bytes.subarray(result.length) };
  }
}
