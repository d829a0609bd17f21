import type { CommitEngine } from "#commit/engine.js";
import type { EffectiveAccount } from "#config/effective.js";
import type { LongshoreError } from "#lib/errors.js";
import type { Logger } from "#lib/logger.js";
import type { Usages } from "#quota/usages.js";
import type { Store } from "#storage/contract.js";
import type { TransferObserver } from "./transfer-log.js";

export interface SessionOptions {
  readonly id: string;
  readonly clientAddress: string;
  readonly protocol: string;
  /** The account as it is configured now; throws once it is gone. */
  readonly account: () => EffectiveAccount;
  readonly power: () => boolean;
  /** Why the storage can't be used at all now, if so. */
  readonly storageFault: () => LongshoreError | undefined;
  readonly store: Store;
  readonly engine: CommitEngine;
  /** Default: no folder has a quota. */
  readonly usages?: Usages | undefined;
  readonly logger: Logger;
  readonly observer: TransferObserver;
  readonly ended: () => void;
}
