import { isInNetworks, type Network, parseNetwork } from "#lib/networks.js";

/** Networks are parsed once per configuration object: those are frozen and replaced at each change. */
const parsed = new WeakMap<readonly string[], readonly Network[]>();

/** Whether the address lies in one of the networks of a list in the configuration. */
export function isIn(address: string, list: readonly string[]): boolean {
  if (list.length === 0) return false;
  let networks = parsed.get(list);
  if (networks === undefined) {
    networks = list.flatMap((text) => parseNetwork(text) ?? []);
    parsed.set(list, networks);
  }
  return isInNetworks(address, networks);
}
