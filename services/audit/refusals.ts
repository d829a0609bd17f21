import { isIPv6 } from "node:net";
import type { AuditEntry, AuditKind } from "./contract.js";

/**
 * Refusals are a stranger's to make: logins, requests of the admin API, operations on files. Few of one address are recorded
 * each, the others counted.
 */

export interface RefusalFilter {
  /** What to record now: the entry, or nothing. */
  admit(entry: AuditEntry): AuditEntry | undefined;
  /** One record for each address with more than it was granted, and a new period begins. */
  conclude(): AuditEntry[];
}

/** Of one address in one period. */
export const EACH = 20;
/** Addresses that are counted apart. */
export const MOST_ADDRESSES = 1_000;
const REST = "others";
const MOST_NAMES = 5;

interface Counted {
  granted: number;
  more: number;
  readonly names: Set<string>;
}

/** What may be refused so often that it has to be counted; undefined: it is recorded each time. */
export function refusalKind({ kind, outcome }: AuditEntry): AuditKind | undefined {
  if (kind === "login-refused") return kind;
  if (kind === "file" && outcome === "refused") return kind;
  return kind === "admin" && outcome === "denied" ? kind : undefined;
}

/** `kind`: of all its entries. */
export function createRefusalFilter(kind: AuditKind = "login-refused"): RefusalFilter {
  const addresses = new Map<string, Counted>();
  const counted = (client: string): Counted => {
    const group = groupOf(client);
    const key = addresses.has(group) || addresses.size < MOST_ADDRESSES ? group : REST;
    const found = addresses.get(key) ?? { granted: 0, more: 0, names: new Set<string>() };
    addresses.set(key, found);
    return found;
  };
  return {
    admit(entry) {
      const found = counted(entry.client ?? "");
      if (found.granted < EACH) {
        found.granted += 1;
        return entry;
      }
      found.more += 1;
      if (entry.who !== undefined && found.names.size < MOST_NAMES) found.names.add(entry.who);
      return undefined;
    },
    conclude() {
      const said = [...addresses]
        .filter(([, { more }]) => more > 0)
        .map(
          ([client, { more, names }]): AuditEntry => ({
            kind,
            what: "many",
            outcome: kind === "admin" ? "denied" : "refused",
            client,
            details: { count: more, accounts: [...names] },
          }),
        );
      addresses.clear();
      return said;
    },
  };
}

/** An IPv4 address, or the /64 of an IPv6 one: whoever has one address of it has them all. */
function groupOf(client: string): string {
  if (!isIPv6(client)) return client;
  const [head = "", tail] = client.toLowerCase().split("%")[0]?.split("::") ?? [];
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length);
  const groups = [...front, ...Array<string>(missing).fill("0"), ...back];
  return `${groups
    .slice(0, 4)
    .map((each) => each.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
