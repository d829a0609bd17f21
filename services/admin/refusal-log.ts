import { BlockList, isIP, isIPv4 } from "node:net";
import { monotonicMs } from "#lib/clock.js";
import type { Logger } from "#lib/logger.js";
import type { AdminRefusal } from "./principal.js";

/** Lines in one period: whoever guesses tokens mustn't fill the log's disk. */
const LINES = 20;
const PERIOD_MS = 10_000;

export interface RefusalLogOptions {
  readonly logger: Logger;
  readonly onRefusal: (reason: AdminRefusal) => void;
  readonly now?: () => number;
}

export interface Refused {
  readonly address: string;
  readonly method: string;
  readonly path: string;
  /** Where the token was good, but not for this. */
  readonly administrator?: string;
}

/** Counts each refused request and logs a bounded number of them; what was left out is said in the next line. */
export function createRefusalLog(options: RefusalLogOptions): (reason: AdminRefusal, refused: Refused) => void {
  const { logger, onRefusal, now = monotonicMs } = options;
  let since = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let leftOut = 0;
  return (reason, refused) => {
    onRefusal(reason);
    if (now() - since >= PERIOD_MS) {
      since = now();
      lines = 0;
    }
    if (lines++ >= LINES) {
      leftOut++;
      return;
    }
    const { method, address, administrator } = refused;
    const fields = { reason, address, method, path: refused.path.slice(0, 200) };
    logger.warn("an admin request was refused", {
      ...fields,
      ...(administrator === undefined ? {} : { administrator }),
      ...(leftOut === 0 ? {} : { leftOut }),
    });
    leftOut = 0;
  };
}

/**
 * The client's own address: behind one of the site's balancers it is the last one of `X-Forwarded-For`, which HAProxy
 * adds; from anybody else that header is only a claim.
 */
export function clientAddress(peer: string | undefined, forwardedFor: string, balancers: readonly string[]): string {
  const address = plain(peer ?? "");
  const last = plain(forwardedFor.split(",").at(-1)?.trim() ?? "");
  if (isIP(last) === 0 || isIP(address) === 0) return address;
  const trusted = new BlockList();
  for (const network of balancers) {
    const [host = "", bits] = network.split("/");
    const family = isIPv4(host) ? "ipv4" : "ipv6";
    trusted.addSubnet(host, bits === undefined ? (family === "ipv4" ? 32 : 128) : Number(bits), family);
  }
  return trusted.check(address, isIPv4(address) ? "ipv4" : "ipv6") ? last : address;
}

/** An IPv4 address on a socket of both families carries a prefix. */
function plain(address: string): string {
  return address.startsWith("::ffff:") && isIPv4(address.slice(7)) ? address.slice(7) : address;
}
