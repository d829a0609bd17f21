import type { AccountLife } from "#config/life-schema.js";
import type { Account } from "#config/schema.js";

/** What is due in the life of accounts. Pure: accounts, their last logins and a moment in, actions out. */

/** Of an account's use, as the coordinator knows it; times are milliseconds since 1970. */
export interface Usage {
  /** When the coordinator first saw the account: what an account without any login counts from. */
  readonly since: number;
  readonly lastLogin?: number | undefined;
  /** It was disabled when the coordinator last looked: enabled again, it counts from then. */
  readonly disabled?: true | undefined;
}

/** What a notice is about. */
export const NOTICE_KINDS = ["account-expires", "password-expires", "account-disabled", "account-removed"] as const;
export type NoticeKind = (typeof NOTICE_KINDS)[number];

export type LifeAction =
  | { readonly act: "disable"; readonly account: string; readonly unusedSince: number }
  | { readonly act: "remove"; readonly account: string; readonly unusedSince: number }
  | {
      readonly act: "notice";
      readonly account: string;
      readonly mail: string;
      readonly kind: NoticeKind;
      /** When it happens, milliseconds since 1970. */
      readonly due: number;
      /** Which of the site's notices this is. */
      readonly daysBefore: number;
    };

export interface LifeSituation {
  readonly accounts: Iterable<Account>;
  readonly usage: ReadonlyMap<string, Usage>;
  readonly settings: AccountLife;
  readonly now: number;
}

export const DAY_MS = 86_400_000;
/** A login reaches the coordinator within a minute or two: nobody is disabled who came in at the last moment. */
export const LATE_LOGIN_MS = 600_000;

/**
 * Invariants: an account is disabled or removed only for want of use that is known (one that the coordinator has not seen
 * before has no usage yet, and nothing happens to it); never both in one plan; of several notices that are due about one
 * thing, only the latest.
 */
export function planLife({ accounts, usage, settings, now }: LifeSituation): LifeAction[] {
  const actions: LifeAction[] = [];
  for (const account of accounts) {
    const used = usage.get(account.name);
    const unusedSince = used && Math.max(used.since, used.lastLogin ?? 0);
    const removal = unusedSince === undefined ? undefined : after(unusedSince, settings.removeAfterInactiveDays);
    const disabling = unusedSince === undefined ? undefined : after(unusedSince, settings.disableAfterInactiveDays);
    if (unusedSince !== undefined && isDue(removal, now)) {
      actions.push({ act: "remove", account: account.name, unusedSince });
      continue;
    }
    if (unusedSince !== undefined && account.enabled && isDue(disabling, now)) {
      actions.push({ act: "disable", account: account.name, unusedSince });
      continue;
    }
    const dues: readonly (readonly [NoticeKind, number | undefined])[] = [
      ["account-removed", removal],
      ...(account.enabled
        ? ([
            ["account-expires", account.expiresAt === undefined ? undefined : Date.parse(account.expiresAt)],
            ["password-expires", passwordDue(account, settings)],
            ["account-disabled", disabling],
          ] as const)
        : []),
    ];
    for (const [kind, due] of dues) {
      const notice = noticeFor(account, kind, due, settings.noticeDaysBefore, now);
      if (notice !== undefined) actions.push(notice);
    }
  }
  return actions;
}

/** When an account's password becomes too old; undefined: never, or its age isn't known. */
export function passwordDue(account: Account, settings: Pick<AccountLife, "passwordMaxAgeDays">): number | undefined {
  if (account.passwordHash === undefined || account.passwordChangedAt === undefined) return undefined;
  return after(Date.parse(account.passwordChangedAt), settings.passwordMaxAgeDays);
}

function after(moment: number, days: number): number | undefined {
  return days === 0 ? undefined : moment + days * DAY_MS;
}

function isDue(due: number | undefined, now: number): boolean {
  return due !== undefined && due + LATE_LOGIN_MS <= now;
}

function noticeFor(
  account: Account,
  kind: NoticeKind,
  due: number | undefined,
  daysBefore: readonly number[],
  now: number,
): LifeAction | undefined {
  if (account.mail === undefined || due === undefined || due <= now) return undefined;
  const left = (due - now) / DAY_MS;
  const applicable = daysBefore.filter((days) => days >= left);
  if (applicable.length === 0) return undefined;
  return { act: "notice", account: account.name, mail: account.mail, kind, due, daysBefore: Math.min(...applicable) };
}
