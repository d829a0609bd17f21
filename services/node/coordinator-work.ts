import { type CoordinatorOptions, fencedCoordination } from "#cluster/coordinator.js";
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

/** All that the elected node does for the cluster, each until its tenure ends. */
export function coordinatorWorks(work: CoordinatorWork): CoordinatorOptions["works"] {
  const { config, store, audit, storagePath, node, logger } = work;
  return [
    (tenure) => lookAfterAccounts(tenure, work),
    (tenure) => {
      const coordination = fencedCoordination(work.coordination, tenure);
      return keepUsage({ coordination, config, store, signal: tenure.signal, logger });
    },
    ({ signal }) => keepAuditShort({ config, audit, storagePath, node, signal, logger }),
  ];
}
