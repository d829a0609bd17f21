import type { SecurityParts } from "#admin/security-contract.js";
import type { AuditSink } from "#audit/contract.js";
import { createGuard, type Guard } from "#auth/guard.js";
import { createKnownAddresses } from "#auth/known.js";
import { inForce } from "#auth/policy.js";
import { reasonToEnd } from "#auth/revocation.js";
import { createSecurity } from "#auth/security.js";
import { createVerifier } from "#auth/verifier.js";
import { clockCorrectionMs } from "#cluster/clocks.js";
import type { Membership } from "#cluster/contract.js";
import { createExchange, type Question } from "#cluster/exchange.js";
import type { MembersView } from "#cluster/members.js";
import { effectiveAccount } from "#config/effective.js";
import { securitySchema } from "#config/security-schema.js";
import type { RunningConfigView } from "#config/view.js";
import type { Coordination } from "#coordination/contract.js";
import type { Logger } from "#lib/logger.js";
import type { Metrics } from "#observe/metrics.js";
import { createSessionCounts } from "#sessions/counts.js";
import { createSessionRegistry, type SessionEnd, type SessionFacts, type SessionRegistry } from "#sessions/registry.js";
import type { TransferOfSession } from "#sessions/sessions.js";
import { banRecords } from "./audit-observers.js";
import type { SecurityKeeper } from "./security-keeper.js";

export interface ProtectionOptions {
  readonly coordination: Coordination;
  readonly nodeId: string;
  readonly balancers: readonly string[] | undefined;
  readonly membership: Membership;
  readonly members: MembersView;
  readonly config: RunningConfigView;
  readonly transfers: () => readonly TransferOfSession[];
  /** Ends connections without a login whose address is banned. */
  readonly endBanned: (isBanned: (address: string) => boolean) => void;
  readonly metrics: Metrics;
  readonly audit: AuditSink;
  /** Keeps bans and lockouts on the node's own disk, for a start without the store. Absent: the store is on it. */
  readonly keeper?: SecurityKeeper | undefined;
  readonly logger: Logger;
}

/** Who may come in, and who must go: on this node, by what all nodes know. */
export interface Protection {
  readonly guard: Guard;
  readonly registry: SessionRegistry;
  /** What the admin API needs of it. */
  readonly parts: SecurityParts;
  /** Nobody is let in before it has resolved: what was known last is known again. Never rejects. */
  start(): Promise<void>;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** Between looks at what time alone changes: an account that expires. */
const TICK_MS = 500;
/** Of one node in one answer. */
const MOST_LISTED = 2_000;
const DEFAULTS = securitySchema.parse({});

export function createProtection(options: ProtectionOptions): Protection {
  const { coordination, nodeId, config, members, membership, metrics, logger } = options;
  const observer = { ...metrics.security, imposed: banRecords(options.audit, metrics.security.imposed) };
  const security = createSecurity({
    coordination,
    nodeId,
    balancers: options.balancers,
    now: () => Date.now() + clockCorrectionMs(members.list(), nodeId),
    settings: () => (config.loaded() ? config.snapshot().site.security : DEFAULTS),
    exists: (account) => config.loaded() && config.snapshot().accounts.has(account),
    observer,
    logger,
  });
  const known = createKnownAddresses({ coordination, logger });
  const guard = createGuard({
    config,
    verifier: createVerifier({ config, now: () => security.now(), logger }),
    security,
    known,
    observer,
  });

  const verdictOn = (session: SessionFacts): { readonly reason: SessionEnd; readonly detail: string } | undefined => {
    if (security.bannedBy(session.address) !== undefined) return { reason: "banned", detail: "the address is banned" };
    const detail = reasonToEnd(session, config.snapshot(), security.now());
    return detail === undefined ? undefined : { reason: "revoked", detail };
  };
  const maxSessions = (account: string) => effectiveAccount(config.snapshot(), account)?.maxSessions;
  const registry = createSessionRegistry({
    objection: (session) => verdictOn(session)?.detail,
    maxSessions,
    elsewhere: (account) => counts.elsewhere(account),
    onLimit: () => observer.sessionLimitReached(),
  });
  const counts = createSessionCounts({
    coordination,
    nodeId,
    lease: () => membership.current()?.lease.id,
    counts: () => Object.fromEntries([...registry.counts()].filter(([account]) => maxSessions(account) !== undefined)),
    logger,
  });
  registry.onChange((account) => {
    if (maxSessions(account) !== undefined) counts.touch();
  });

  /** Ends what may not go on. */
  const review = () => {
    if (!config.loaded()) return;
    for (const session of registry.list()) {
      const verdict = verdictOn(session);
      if (verdict === undefined) continue;
      observer.sessionEnded(verdict.reason);
      session.end(verdict.reason, verdict.detail);
    }
  };
  security.bans.onChange(() => {
    review();
    options.endBanned((address) => security.bannedBy(address) !== undefined);
  });

  const answer = ({ kind, argument }: Question): unknown => {
    if (kind === "sessions") {
      const all = registry.list();
      return { total: all.length, sessions: all.slice(0, MOST_LISTED).map(shownSession) };
    }
    if (kind === "transfers") {
      const all = options.transfers();
      return { total: all.length, transfers: all.slice(0, MOST_LISTED).map(shownTransfer) };
    }
    if (kind === "kill") {
      const session = registry.list().find(({ id }) => id === argument);
      if (session === undefined) return { killed: false };
      observer.sessionEnded("killed");
      session.end("killed", "ended by an administrator");
      return { killed: true };
    }
    return undefined;
  };
  const exchange = createExchange({
    coordination,
    nodeId,
    nodes: () => members.list().map(({ id }) => id),
    answer,
    logger,
  });

  const inForceNow = (
    list: readonly { readonly at: number; readonly until: number | null; readonly level: number }[],
  ) => list.filter((each) => inForce(each, security.now())).length;
  observer.attach({
    bans: () => inForceNow(security.bans.list()),
    lockouts: () => inForceNow(security.lockouts.list()),
  });

  const restoreKept = async () => {
    const kept = await options.keeper?.load();
    if (kept !== undefined) {
      security.bans.preload(kept.bans);
      security.lockouts.preload(kept.lockouts);
    }
    const keep = () => options.keeper?.keep({ bans: security.bans.list(), lockouts: security.lockouts.list() });
    security.bans.onChange(keep);
    security.lockouts.onChange(keep);
  };

  let timer: NodeJS.Timeout | undefined;
  let offConfig: (() => void) | undefined;
  return {
    guard,
    registry,
    parts: { security, exchange },
    async start() {
      await restoreKept();
      security.start();
      counts.start();
      exchange.start();
      offConfig = config.onChange(() => {
        review();
        // Which accounts have a limit may have changed.
        counts.touch();
      });
      timer = setInterval(review, TICK_MS).unref();
    },
    async stop() {
      clearInterval(timer);
      offConfig?.();
      exchange.stop();
      await Promise.all([security.stop(), counts.stop()]);
      await options.keeper?.stop();
    },
  };
}

function shownSession({ id, account, address, port, protocol, method, since }: SessionFacts) {
  return { id, account, address, port, protocol, method, since };
}

function shownTransfer({ transfer, session, account, address }: TransferOfSession) {
  const { id, direction, path, bytes, since } = transfer;
  return { id, session, account, address, direction, path: path.slice(0, 256), bytes, since };
}
