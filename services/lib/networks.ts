import { isIP } from "node:net";
import { addressNumber } from "./addresses.js";

/** Addresses and networks (CIDR), as numbers. IPv4 addresses inside IPv6 (`::ffff:192.0.2.1`) count as IPv4. */
export interface Network {
  readonly family: 4 | 6;
  /** First and last address, both in it. */
  readonly first: bigint;
  readonly last: bigint;
}

const BITS = { 4: 32, 6: 128 } as const;
const MAPPED = 0xffffn << 32n;

/** `192.0.2.0/24`, `2001:db8::/32` or one address; undefined for what isn't one. Host bits may be set and are ignored. */
export function parseNetwork(text: string): Network | undefined {
  const [host = "", bits, ...rest] = text.split("/");
  const version = isIP(host);
  if (version === 0 || rest.length > 0 || host.includes("%")) return undefined;
  const family = version as 4 | 6;
  if (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= BITS[family])) return undefined;
  const size = BigInt(BITS[family] - (bits === undefined ? BITS[family] : Number(bits)));
  const first = (addressNumber(host) >> size) << size;
  const last = first + (1n << size) - 1n;
  if (family === 6 && size <= 32n && first >> 32n === MAPPED >> 32n) {
    return { family: 4, first: first - MAPPED, last: last - MAPPED };
  }
  return { family, first, last };
}

/** Whether the address lies in one of the networks; false for what isn't an address. */
export function isInNetworks(address: string, networks: readonly Network[]): boolean {
  const one = parseNetwork(address);
  if (one === undefined) return false;
  return networks.some((net) => net.family === one.family && net.first <= one.first && one.last <= net.last);
}

/** What is left of `networks` without `taken`: disjoint, ascending within each family. */
export function subtractNetworks(networks: readonly Network[], taken: readonly Network[]): readonly Network[] {
  let left = [...networks];
  for (const hole of taken) {
    left = left.flatMap((net) => {
      if (net.family !== hole.family || hole.last < net.first || net.last < hole.first) return [net];
      const parts: Network[] = [];
      if (net.first < hole.first) parts.push({ ...net, last: hole.first - 1n });
      if (hole.last < net.last) parts.push({ ...net, first: hole.last + 1n });
      return parts;
    });
  }
  return left;
}

export const ALL_IPV4: Network = { family: 4, first: 0n, last: (1n << 32n) - 1n };
export const ALL_IPV6: Network = { family: 6, first: 0n, last: (1n << 128n) - 1n };
