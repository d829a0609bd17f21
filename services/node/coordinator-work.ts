import { fencedCoordination, type Tenure } from "#cluster/coordinator.js";
import { keepUsage } from "#quota/recount.js";
import type { Store } from "#storage/contract.js";
import { type AuditRetentionOptions, keepAuditShort } from "./audit-retention.js";
import { type AccountsWork, lookAfterAccounts } from "./life.js";

export interface CoordinatorWork extends AccountsWork {
  readonly audit: AccountsWork["audit"] & AuditRetentionOptions["audit"];
  /** This node's name. */
  readonly node: string;
  /** The shared storage's root; undefined while that can't be used. */
  readonly storagePath: () => string | undefined;
  /** Undefined until this node has its storage. */
  readonly store: () => Store | undefined;
}

/** All that the elected node does for the cluster, until its tenure ends; what fails ends only when the rest has, too. */
export async function coordinate(tenure: Tenure, work: CoordinatorWork): Promise<void> {
  const { config, store, audit, storagePath, node, logger } = work;
  const { signal } = tenure;
  const coordination = fencedCoordination(work.coordination, tenure);
  const ends = await Promise.allSettled([
    lookAfterAccounts(tenure, work),
    keepUsage({ coordination, config, store, signal, logger }),
    keepAuditShort({ config, audit, storagePath, node, signal, logger }),
  ]);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}
