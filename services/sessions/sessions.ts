import { randomBytes } from "node:crypto";
import type { CommitEngine } from "#commit/engine.js";
import type { ConfigView } from "#config/contract.js";
import { effectiveAccount } from "#config/effective.js";
import { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Usages } from "#quota/usages.js";
import type { Store } from "#storage/contract.js";
import type { Session, Sessions } from "./contract.js";
import { tellRefusals } from "./refused.js";
import { AccountSession } from "./session.js";
import type { RunningTransfer, TransferObserver } from "./transfer-log.js";

export interface SessionsOptions {
  readonly config: ConfigView;
  readonly store: Store;
  readonly engine: CommitEngine;
  /** Default: no folder has a quota. */
  readonly usages?: Usages | undefined;
  /** Why the storage can't be used at all now (gone, hung, another site's); a full one can. */
  readonly storageFault: () => LongshoreError | undefined;
  readonly logger: Logger;
  readonly observer: TransferObserver;
}

/** Whose transfer it is. */
export interface TransferOfSession {
  readonly transfer: RunningTransfer;
  readonly session: string;
  readonly account: string;
  readonly address: string;
}

export interface CountedSessions extends Sessions {
  /** What runs now. */
  transfers(): readonly TransferOfSession[];
}

/** The one place where sessions are made, and counted. */
export function createSessions(options: SessionsOptions): CountedSessions {
  const open = new Set<Session>();
  const running = new Map<string, TransferOfSession>();
  const watched = (whose: Omit<TransferOfSession, "transfer">): TransferObserver => ({
    ...options.observer,
    opened(direction, transfer) {
      running.set(transfer.id, { transfer, ...whose });
      options.observer.opened(direction, transfer);
    },
    ended(direction, end, transfer) {
      running.delete(transfer.id);
      options.observer.ended(direction, end, transfer);
    },
  });
  return {
    get count() {
      return open.size;
    },
    transfers: () => [...running.values()],
    open({ account, clientAddress, protocol }) {
      const id = randomBytes(6).toString("hex");
      const session: AccountSession = new AccountSession({
        id,
        clientAddress,
        protocol,
        // asked anew at each operation: a change of the account's permissions is in force at once
        account: () => {
          const found = effectiveAccount(options.config.snapshot(), account);
          if (found?.enabled) return found;
          throw new LongshoreError("permission-denied", "this account is not enabled");
        },
        power: () => options.config.snapshot().site.durability === "power",
        storageFault: options.storageFault,
        store: options.store,
        engine: options.engine,
        usages: options.usages,
        logger: options.logger.child({ session: id, account, client: clientAddress }),
        observer: watched({ session: id, account, address: clientAddress }),
        ended: () => open.delete(session),
      });
      tellRefusals(session, protocol, (refused) => options.observer.refused?.(refused));
      open.add(session);
      return session;
    },
  };
}
