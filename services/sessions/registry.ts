import type { Credential } from "#config/credential.js";
import { LongshoreError } from "#lib/errors.js";

/** Sessions as those see them who may end them: one for each authenticated connection of this node. */

export interface SessionFacts {
  readonly id: string;
  readonly account: string;
  /** The client's own (P9). */
  readonly address: string;
  readonly port: number;
  readonly protocol: "sftp";
  readonly method: string;
  readonly credential: Credential | undefined;
  /** Of the login; wall clock, milliseconds since 1970. */
  readonly since: number;
}

/** Why a session is ended from outside. */
export type SessionEnd = "banned" | "revoked" | "killed";

export interface RegisteredSession extends SessionFacts {
  end(reason: SessionEnd, detail: string): void;
}

export interface SessionRegistry {
  /**
   * Takes a session in; the function returned takes it out again, once. Throws `permission-denied` where something speaks
   * against it by now, and `limit` where the account has as many as it may.
   */
  admit(session: RegisteredSession): () => void;
  list(): readonly RegisteredSession[];
  /** Sessions here, by account. */
  counts(): ReadonlyMap<string, number>;
  /** Calls back after each session that comes or goes. */
  onChange(callback: (account: string) => void): void;
}

export interface SessionRegistryOptions {
  /** Why this session must not begin; the login was checked a moment ago, and the world may have changed since. */
  readonly objection: (session: SessionFacts) => string | undefined;
  /** Of this account, on all nodes together; undefined: no limit. */
  readonly maxSessions: (account: string) => number | undefined;
  /** How many the account has on other nodes. */
  readonly elsewhere: (account: string) => number;
  /** A session was refused for its account's limit. */
  readonly onLimit?: () => void;
}

export function createSessionRegistry(options: SessionRegistryOptions): SessionRegistry {
  const sessions = new Set<RegisteredSession>();
  const counts = new Map<string, number>();
  const callbacks = new Set<(account: string) => void>();

  const count = (account: string, change: 1 | -1) => {
    const next = (counts.get(account) ?? 0) + change;
    if (next === 0) counts.delete(account);
    else counts.set(account, next);
    for (const callback of callbacks) callback(account);
  };

  return {
    admit(session) {
      const { account } = session;
      const objection = options.objection(session);
      if (objection !== undefined) throw new LongshoreError("permission-denied", objection);
      const most = options.maxSessions(account);
      if (most !== undefined && (counts.get(account) ?? 0) + options.elsewhere(account) >= most) {
        options.onLimit?.();
        throw new LongshoreError("limit", `the account has ${most} sessions already (maxSessions)`);
      }
      sessions.add(session);
      count(account, 1);
      return () => {
        if (sessions.delete(session)) count(account, -1);
      };
    },
    list: () => [...sessions],
    counts: () => counts,
    onChange: (callback) => void callbacks.add(callback),
  };
}
