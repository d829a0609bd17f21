import type { SecuritySettings } from "#config/security-schema.js";

/**
 * What is done about failed logins: pure decisions from counts to measures.
 *
 * Invariants: a protected address (a balancer's) is never banned nor slowed down; a lockout never shuts out an address that
 * has logged in to the account before, so nobody can lock a partner out from everywhere by guessing; each repetition within
 * `forgetHours` takes at least as long as the one before.
 */

/** A ban or lockout that was, or is, in force. */
export interface Measure {
  /** When it began, and ends; the site's clock, milliseconds since 1970. Null: only an administrator ends it. */
  readonly at: number;
  readonly until: number | null;
  /** 1 for the first time. */
  readonly level: number;
}

export interface FailureFacts {
  readonly now: number;
  /** Failures in the window, on all nodes, this one included. */
  readonly ofAddress: number;
  readonly ofAccount: number;
  readonly protectedAddress: boolean;
  readonly lastBan: Measure | undefined;
  readonly lastLockout: Measure | undefined;
}

export interface FailureDecision {
  readonly ban?: Measure;
  readonly lockout?: Measure;
}

export function inForce(measure: Measure | undefined, now: number): boolean {
  return measure !== undefined && (measure.until === null || now < measure.until);
}

/** After a failed login. Nothing where the measure is in force already. */
export function afterFailure(facts: FailureFacts, settings: SecuritySettings): FailureDecision {
  const { now, lastBan, lastLockout } = facts;
  const reached = (count: number, limit: number) => limit > 0 && count >= limit;
  const ban =
    !facts.protectedAddress && reached(facts.ofAddress, settings.addressFailures) && !inForce(lastBan, now)
      ? nextMeasure(lastBan, settings.banSeconds, now, settings)
      : undefined;
  const lockout =
    reached(facts.ofAccount, settings.accountFailures) && !inForce(lastLockout, now)
      ? nextMeasure(lastLockout, settings.lockoutSeconds, now, settings)
      : undefined;
  return { ...(ban === undefined ? {} : { ban }), ...(lockout === undefined ? {} : { lockout }) };
}

function nextMeasure(
  last: Measure | undefined,
  seconds: readonly number[],
  now: number,
  settings: SecuritySettings,
): Measure {
  const level = last === undefined || isForgotten(last, now, settings) ? 1 : last.level + 1;
  const length = seconds[Math.min(level, seconds.length) - 1] ?? 60;
  return { at: now, until: now + length * 1_000, level };
}

/** Whether the next measure starts anew, and the record may be removed. */
export function isForgotten(measure: Measure, now: number, settings: SecuritySettings): boolean {
  return measure.until !== null && now >= measure.until + settings.forgetHours * 3_600_000;
}

/** How long a check waits before it starts, in milliseconds. */
export function throttleMs(
  facts: { readonly ofAddress: number; readonly ofAccount: number; readonly protectedAddress: boolean },
  settings: SecuritySettings,
): number {
  const { afterFailures, firstMs, mostMs } = settings.throttle;
  if (afterFailures === 0) return 0;
  const failures = Math.max(facts.protectedAddress ? 0 : facts.ofAddress, facts.ofAccount);
  if (failures < afterFailures) return 0;
  return Math.min(mostMs, firstMs * 2 ** Math.min(failures - afterFailures, 30));
}
