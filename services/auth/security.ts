import type { SecuritySettings } from "#config/security-schema.js";
import type { Coordination } from "#coordination/contract.js";
import { keys } from "#coordination/keys.js";
import { canonicalNetwork, normalizeAddress, overlaps, parseNetworks } from "#lib/addresses.js";
import type { Logger } from "#lib/logger.js";
import { createFailureCounters } from "./counters.js";
import { isIn } from "./in-networks.js";
import { createMeasures, type MeasureRecord, type Measures } from "./measures.js";
import { afterFailure, inForce } from "./policy.js";
import type { SecurityObserver } from "./security-contract.js";

/**
 * The site's memory of failed logins, and what follows from it: every node counts, every node decides, every node obeys.
 * While the store is away, a node goes on with what it knows.
 */
export interface Security {
  start(): void;
  /** Idempotent. */
  stop(): Promise<void>;
  /** The ban that holds for this address now. Never one for a protected address. */
  bannedBy(address: string): MeasureRecord | undefined;
  /** The lockout that holds for this account's password now. */
  lockoutOf(account: string): MeasureRecord | undefined;
  /** Failures in the window, on all nodes. */
  failures(address: string, account: string): { readonly ofAddress: number; readonly ofAccount: number };
  /** Whether this address is never banned: a balancer's, or in `security.neverBan`. */
  isProtected(address: string): boolean;
  /** Whether a ban of this network would meet a balancer: then it must be refused. */
  meetsBalancer(network: string): boolean;
  /**
   * Counts a failed login and decides what follows. `account`: absent where the failure says nothing about an account's
   * password.
   */
  failed(address: string, account: string | undefined): void;
  readonly bans: Measures;
  readonly lockouts: Measures;
  /** The site's clock, milliseconds since 1970. */
  now(): number;
}

export interface SecurityOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  /** The balancers' networks; absent: partners connect to the node itself. */
  readonly balancers: readonly string[] | undefined;
  /** The site's clock, milliseconds since 1970. */
  readonly now: () => number;
  readonly settings: () => SecuritySettings;
  /** Whether there is such an account: only then it can be locked out. */
  readonly exists: (account: string) => boolean;
  readonly observer: SecurityObserver;
  /** Between looks for what is forgotten, in milliseconds. Default: 30,000 and 60,000. */
  readonly sweepMs?: number;
  readonly logger: Logger;
}

/**
 * Without balancers, a connection from the host itself may be a relay's that hides all partners behind one address: it is
 * treated as a balancer's.
 */
const LOOPBACK = ["127.0.0.0/8", "::1"];

export function createSecurity(options: SecurityOptions): Security {
  const { coordination, nodeId, now, settings, observer, logger } = options;
  const balancerList = (options.balancers ?? LOOPBACK).flatMap((entry) => canonicalNetwork(entry) ?? []);
  const balancers = parseNetworks(balancerList);

  const sweep = options.sweepMs === undefined ? {} : { sweepMs: options.sweepMs };
  const counters = createFailureCounters({
    ...sweep,
    coordination,
    nodeId,
    now,
    settings,
    onFlush: (bytes) => observer.countersFlushed(bytes),
    onTold(kind, source) {
      if (kind === "accounts") decideOn("", true, options.exists(source) ? source : undefined);
      else decideOn(source, isProtected(source.split("/")[0] ?? ""), undefined);
    },
    logger,
  });
  const shared = { ...sweep, coordination, now, settings, logger };
  const bans = createMeasures({
    ...shared,
    prefix: keys.banPrefix,
    onTurned: (subject) => counters.forget("addresses", subject),
  });
  const lockouts = createMeasures({
    ...shared,
    prefix: keys.lockoutPrefix,
    onTurned: (subject) => counters.forget("accounts", subject),
  });

  /** What follows from the failures of all nodes so far. Each node decides; where two do, the store takes the first one. */
  function decideOn(source: string, protectedAddress: boolean, account: string | undefined): void {
    const { ban, lockout } = afterFailure(
      {
        now: now(),
        ofAddress: counters.count("addresses", source),
        ofAccount: account === undefined ? 0 : counters.count("accounts", account),
        protectedAddress,
        lastBan: bans.get(source),
        lastLockout: account === undefined ? undefined : lockouts.get(account),
      },
      settings(),
    );
    if (ban !== undefined) {
      observer.imposed("ban", source, { ...ban });
      logger.warn("an address is banned after failed logins", { address: source, ...ban });
      bans.impose({ subject: source, ...ban, by: "failed-logins", reason: "failed logins" });
    }
    if (lockout !== undefined && account !== undefined) {
      observer.imposed("lockout", account, { ...lockout });
      logger.warn("an account's password is locked for addresses that never logged in", { account, ...lockout });
      lockouts.impose({ subject: account, ...lockout, by: "failed-logins", reason: "failed logins" });
    }
  }

  /** Bans of networks wider than a source, sorted out at each change: each connection asks. */
  let wide: readonly MeasureRecord[] = [];
  bans.onChange(() => {
    wide = bans
      .list()
      .filter(({ subject }) => subject.includes("/") && subject !== sourceOf(subject.split("/")[0] ?? ""));
  });

  const isProtected = (address: string): boolean => balancers.includes(address) || isIn(address, settings().neverBan);

  return {
    start() {
      counters.start();
      bans.start();
      lockouts.start();
    },
    async stop() {
      await Promise.all([counters.stop(), bans.stop(), lockouts.stop()]);
    },
    bannedBy(address) {
      const plain = normalizeAddress(address);
      if (plain === undefined || isProtected(plain)) return undefined;
      const at = now();
      for (const found of [bans.get(plain), bans.get(sourceOf(plain))]) if (inForce(found, at)) return found;
      return wide.find((record) => inForce(record, at) && overlaps(record.subject, plain));
    },
    lockoutOf(account) {
      const found = lockouts.get(account);
      return inForce(found, now()) ? found : undefined;
    },
    failures: (address, account) => ({
      ofAddress: counters.count("addresses", sourceOf(address)),
      ofAccount: counters.count("accounts", account),
    }),
    isProtected,
    meetsBalancer: (network) => balancerList.some((balancer) => overlaps(balancer, network)),
    failed(address, account) {
      const source = sourceOf(address);
      counters.add("addresses", source);
      if (account !== undefined) counters.add("accounts", account);
      decideOn(source, isProtected(address), account !== undefined && options.exists(account) ? account : undefined);
    },
    bans,
    lockouts,
    now,
  };
}

/** What failures are counted by: an IPv4 address, or the /64 of an IPv6 one (one host is handed all of it). */
export function sourceOf(address: string): string {
  return address.includes(":") ? (canonicalNetwork(`${address}/64`) ?? address) : address;
}
