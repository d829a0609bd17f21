import type { AuditSink } from "#audit/contract.js";
import { fencedCoordination, type Tenure } from "#cluster/coordinator.js";
import { createAccounts } from "#config/accounts.js";
import type { ConfigView } from "#config/contract.js";
import type { Coordination } from "#coordination/contract.js";
import type { Logger } from "#lib/logger.js";
import { type KeyRing, open } from "#lib/seal.js";
import { runLife } from "#life/life.js";

export interface AccountsWork {
  readonly coordination: Coordination;
  readonly config: ConfigView;
  readonly clusterKey: KeyRing;
  readonly audit: AuditSink;
  readonly logger: Logger;
}

/** The coordinator's work on accounts, until its tenure ends: every write carries the fence. */
export function lookAfterAccounts(tenure: Tenure, work: AccountsWork): Promise<void> {
  const coordination = fencedCoordination(work.coordination, tenure);
  const { generation, signal } = tenure;
  return runLife(
    { generation, signal, coordination, accounts: createAccounts({ coordination }) },
    {
      config: work.config,
      audit: work.audit,
      unseal: (sealed, storeKey) => open(sealed, work.clusterKey, storeKey).toString("utf8"),
      logger: work.logger,
    },
  );
}
