/** Decisions of test/support/compose.ts: pure. */

/** RFC 2544 keeps 198.18.0.0/15 for benchmarks: it is nobody's network. */
const NETS = ["198.18", "198.19"].flatMap((net) => Array.from({ length: 256 }, (_, third) => `${net}.${third}`));

/**
 * The first three bytes of a network that no other one overlaps. `taken` are networks as `198.18.3.0/24`; `random` in
 * [0, 1) chooses, so that two tests at once seldom want the same.
 */
export function freeNet(taken: readonly string[], random: number): string {
  const ranges = taken.map(rangeOf).filter((range) => range !== undefined);
  const free = NETS.filter((net) => {
    const [first, last] = rangeOf(`${net}.0/24`) ?? [0, 0];
    return !ranges.some((range) => range[0] <= last && first <= range[1]);
  });
  const chosen = free[Math.floor(random * free.length)];
  if (chosen === undefined) throw new Error("no network of 198.18.0.0/15 is free: remove those of old tests");
  return chosen;
}

/** First and last address of an IPv4 network, as numbers. */
function rangeOf(network: string): readonly [number, number] | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(network);
  if (match === null) return undefined;
  const [a = 0, b = 0, c = 0, d = 0, bits = 0] = match.slice(1).map(Number);
  const size = 2 ** (32 - bits);
  const first = Math.floor((((a * 256 + b) * 256 + c) * 256 + d) / size) * size;
  return [first, first + size - 1];
}

export interface HostLink {
  readonly name: string;
  /** The bridge that it is plugged into. */
  readonly bridge: string;
}

/** The host's end of a container's cable: `index` is the `link_index` of its eth0, `links` is the host's `ip -j link`. */
export function hostLink(index: number, links: string): HostLink {
  const all = JSON.parse(links) as readonly { ifindex?: number; ifname?: string; master?: string }[];
  const link = all.find(({ ifindex }) => ifindex === index);
  if (link?.ifname === undefined || link.master === undefined) throw new Error(`no plugged cable with index ${index}`);
  return { name: link.ifname, bridge: link.master };
}

/** The environment of `docker compose` for a test: what a developer's own site is set to must not get into it. */
export function composeEnvironment(
  outer: NodeJS.ProcessEnv,
  settings: Readonly<Record<string, string>>,
): NodeJS.ProcessEnv {
  const own = Object.entries(outer).filter(([name]) => !/^(COMPOSE|LONGSHORE)_/.test(name));
  return { ...Object.fromEntries(own), ...settings };
}
