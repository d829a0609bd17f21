import { BlockList, isIP, isIPv4, SocketAddress } from "node:net";

/**
 * IP addresses in one spelling. A dual-stack listener reports an IPv4 peer as `::ffff:192.0.2.1`; if that spelling met a
 * rule or a counter for `192.0.2.1`, bans and limits would miss it. So everything is normalised before it is compared.
 */

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/;

/**
 * The canonical spelling: IPv4 dotted, IPv6 as RFC 5952 has it (lower case, compressed), IPv4-mapped IPv6 as IPv4, no
 * zone id. Undefined where `text` is no IP address.
 */
export function normalizeAddress(text: string): string | undefined {
  const bare = text.replace(/%.*$/s, "");
  if (isIPv4(bare)) return bare;
  if (isIP(bare) !== 6) return undefined;
  const address = new SocketAddress({ address: bare, family: "ipv6" }).address;
  const mapped = MAPPED.exec(address)?.[1];
  return mapped ?? address;
}

/** The spelling of 16 bytes of IPv6 (network order), normalised. */
export function addressFromBytes(bytes: Uint8Array): string {
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0)).toString(16));
  const text = groups.join(":");
  return normalizeAddress(text) ?? text;
}

/**
 * What a per-address limit counts by: the address itself for IPv4, the /64 for IPv6. One host is handed a whole /64
 * (RFC 6177), so a limit by single IPv6 address would be none.
 */
export function limitKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::", 2);
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right];
  return `${groups.slice(0, 4).join(":")}::/64`;
}

export interface Networks {
  /** `address` in any spelling; what is no IP address is in no network. */
  includes(address: string): boolean;
}

/** Networks as CIDR (`10.0.0.0/8`, `2001:db8::/32`) or single addresses. Throws an Error that names the faulty entry. */
export function parseNetworks(entries: readonly string[]): Networks {
  const list = new BlockList();
  for (const entry of entries) {
    const [text = "", suffix, ...more] = entry.split("/");
    const six = isIP(text) === 6;
    const address = normalizeAddress(text);
    if (address === undefined || more.length > 0 || (suffix !== undefined && !/^\d{1,3}$/.test(suffix))) {
      throw new Error(`"${entry}" is no network; write it like 10.0.0.0/8 or 2001:db8::/32`);
    }
    const isFour = isIPv4(address);
    // ::ffff:10.0.0.0/104 means 10.0.0.0/8: the mapped prefix takes 96 bits.
    const mappedBits = six && isFour ? 96 : 0;
    const width = isFour ? 32 : 128;
    const prefix = suffix === undefined ? width : Number(suffix) - mappedBits;
    if (prefix < 0 || prefix > width) {
      throw new Error(`"${entry}": the prefix length must be ${mappedBits} to ${width + mappedBits}`);
    }
    list.addSubnet(address, prefix, isFour ? "ipv4" : "ipv6");
  }
  return {
    includes(address) {
      const plain = normalizeAddress(address);
      return plain !== undefined && list.check(plain, isIPv4(plain) ? "ipv4" : "ipv6");
    },
  };
}

/**
 * A network or an address in its one spelling, host bits cleared: what bans are stored and found by. A single address has no
 * suffix. Undefined where `text` is neither.
 */
export function canonicalNetwork(text: string): string | undefined {
  const [head = "", suffix, ...more] = text.trim().split("/");
  const address = normalizeAddress(head);
  if (address === undefined || more.length > 0 || (suffix !== undefined && !/^\d{1,3}$/.test(suffix))) return undefined;
  const four = isIPv4(address);
  const width = four ? 32 : 128;
  const bits = suffix === undefined ? width : Number(suffix) - (four && isIP(head) === 6 ? 96 : 0);
  if (bits < 0 || bits > width) return undefined;
  if (bits === width) return address;
  const spare = BigInt(width - bits);
  const cleared = (addressNumber(address) >> spare) << spare;
  return `${four ? fourOf(cleared) : sixOf(cleared)}/${bits}`;
}

/** Whether the two networks or addresses have an address in common. */
export function overlaps(one: string, other: string): boolean {
  const [a = "", aBits] = one.split("/");
  const [b = "", bBits] = other.split("/");
  if (a.includes(":") !== b.includes(":")) return false;
  const width = a.includes(":") ? 128 : 32;
  const spare = BigInt(width - Math.min(Number(aBits ?? width), Number(bBits ?? width)));
  return addressNumber(a) >> spare === addressNumber(b) >> spare;
}

/** An IP address (IPv6 without a zone id, in any spelling) as the number that its bytes are. */
export function addressNumber(address: string): bigint {
  if (!address.includes(":")) return address.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  // The last 32 bits may be dotted (RFC 4291, 2.2): ::1.2.3.4.
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const plain =
    dotted === null
      ? address
      : `${dotted[1]}${(addressNumber(dotted[2] ?? "") >> 16n).toString(16)}:${(addressNumber(dotted[2] ?? "") & 0xffffn).toString(16)}`;
  const [head = "", tail] = plain.split("::", 2);
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return groups.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}

function fourOf(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join(".");
}

function sixOf(value: bigint): string {
  const bytes = Uint8Array.from({ length: 16 }, (_, index) => Number((value >> BigInt(120 - 8 * index)) & 0xffn));
  return addressFromBytes(bytes);
}
