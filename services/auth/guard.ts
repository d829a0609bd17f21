import type { Snapshot } from "#config/contract.js";
import { type Account, accountNameSchema, type Site } from "#config/schema.js";
import { pause } from "#lib/clock.js";
import type { Client, Verdict, Verifier } from "./contract.js";
import { isIn } from "./in-networks.js";
import type { KnownAddresses } from "./known.js";
import { throttleMs } from "./policy.js";
import type { Security } from "./security.js";
import type { LoginRefusal, SecurityObserver } from "./security-contract.js";
import { BUSY } from "./verifier.js";

export interface Guard {
  /** Why a connection from this address isn't taken; undefined: it is. */
  refusal(address: string): "banned" | "denied" | undefined;
  /** The verifier with the measures against guessing around it. */
  readonly verifier: Verifier;
}

export interface GuardOptions {
  readonly config: { snapshot(): Pick<Snapshot, "site" | "accounts"> };
  readonly verifier: Verifier;
  readonly security: Security;
  readonly known: KnownAddresses;
  readonly observer: SecurityObserver;
}

/** Checks that wait at once on this node; more are turned away, so that waiting costs an attacker's memory, not ours. */
const MOST_WAITING = 256;

export function createGuard(options: GuardOptions): Guard {
  const { config, verifier, security, known, observer } = options;
  let waiting = 0;

  const refused = (kind: LoginRefusal, reason: string): Verdict => {
    observer.loginRefused(kind);
    return { accepted: false, reason };
  };

  /** Waits as long as the failures so far ask for. False: too many wait already. */
  const throttle = async (address: string, account: string): Promise<boolean> => {
    const { ofAddress, ofAccount } = security.failures(address, account);
    const facts = {
      ofAddress,
      // Who has been here before isn't slowed down by those who guess at his account.
      ofAccount: known.isKnownHere(account, address) ? 0 : ofAccount,
      protectedAddress: security.isProtected(address),
    };
    const ms = throttleMs(facts, config.snapshot().site.security);
    if (ms === 0) return true;
    if (waiting >= MOST_WAITING) return false;
    waiting++;
    observer.loginThrottled();
    try {
      await pause(ms);
    } finally {
      waiting--;
    }
    return true;
  };

  /** What counts against whom after a check, and whether it is accepted. */
  const settle = (verdict: Verdict, account: string | undefined, client: Client): Verdict => {
    if (!verdict.accepted) {
      if (verdict.reason === BUSY) return refused("busy", verdict.reason);
      const countable = account !== undefined && accountNameSchema.safeParse(account).success ? account : undefined;
      security.failed(client.address, countable);
      return refused("credential", verdict.reason);
    }
    // A right credential from a wrong place is no guess: it isn't counted.
    if (!mayComeFrom(verdict.account, client.address)) {
      return refused("address", "the address is none of the account's allowedAddresses");
    }
    known.remember(verdict.account.name, client.address);
    return verdict;
  };

  return {
    refusal(address) {
      if (security.bannedBy(address) !== undefined) return "banned";
      return isDenied(config.snapshot().site.addressRules, address) ? "denied" : undefined;
    },
    verifier: {
      async password(account, password, client) {
        if (!(await throttle(client.address, account))) return refused("busy", BUSY);
        if (security.bannedBy(client.address) !== undefined) return refused("banned", "the address is banned");
        const locked = security.lockoutOf(account) !== undefined && !(await known.isKnown(account, client.address));
        // Checked though it can't help: the time doesn't tell that the account is locked.
        const verdict = await verifier.password(account, password, client, { evenTime: locked });
        if (!locked) return settle(verdict, account, client);
        if (verdict.accepted || verdict.reason !== BUSY) security.failed(client.address, undefined);
        return refused("locked-out", "the password is locked for addresses that never logged in");
      },
      async publicKey(account, key, client) {
        // A mere query proves nothing, and clients with an agent ask for each key that they have.
        if (key.signature === undefined) return verifier.publicKey(account, key, client);
        if (security.bannedBy(client.address) !== undefined) return refused("banned", "the address is banned");
        // Keys can't be guessed: neither a lockout nor the account's failures count for them.
        return settle(await verifier.publicKey(account, key, client), undefined, client);
      },
    },
  };
}

export function isDenied(rules: Site["addressRules"], address: string): boolean {
  return isIn(address, rules.deny) || (rules.allow.length > 0 && !isIn(address, rules.allow));
}

export function mayComeFrom(account: Account, address: string): boolean {
  const allowed = account.allowedAddresses;
  return allowed === undefined || allowed.length === 0 || isIn(address, allowed);
}
