import type { AuditSink } from "#audit/contract.js";
import type { Backups } from "#backup/backup.js";
import type { ActiveHolder } from "#cluster/active-decide.js";
import type { ActiveSwitch } from "#cluster/active-switch.js";
import type { NodeCertificate } from "#cluster/certificates.js";
import type { NodeIdentity, NodeLoad, NodeState } from "#cluster/contract.js";
import type { CoordinatorHolder } from "#cluster/coordinator.js";
import type { Intents } from "#cluster/intents.js";
import type { MembersView } from "#cluster/members.js";
import type { RememberedRequests } from "#cluster/remembered-requests.js";
import type { Accounts } from "#config/accounts.js";
import type { Mode } from "#config/active-schema.js";
import type { Administrators } from "#config/administrators.js";
import type { SiteSettings } from "#config/site.js";
import type { SiteDocuments } from "#config/site-documents.js";
import type { ConfigStatus } from "#config/view.js";
import type { Logger } from "#lib/logger.js";
import type { TrialAct, TrialAnswer } from "#storage/contract.js";
import type { AuditSearch } from "./audit.js";
import type { SecurityParts } from "./security-contract.js";
import type { UsageView } from "./usage.js";

/** What the node can say of itself at any time, from its very start on. */
export interface NodeView {
  readonly identity: NodeIdentity;
  state(): { readonly state: NodeState; readonly reasons: readonly string[] };
  /** Whether running sessions are served, whatever the state: what the balancer's health check asks. */
  serving(): boolean;
  incarnation(): string | undefined;
  leaseUsable(): boolean;
  config(): ConfigStatus;
  /** Ids of the cluster keys that it has, the one that it seals with first. */
  sealKeys(): readonly string[];
  /** What it works with now. */
  certificates(): readonly NodeCertificate[];
  load(): NodeLoad;
  /** Open connections, by the client's own address; `account` is undefined before the login. */
  clients(): readonly { readonly address: string; readonly port: number; readonly account: string | undefined }[];
  storage():
    | { readonly healthy: boolean; readonly problem?: string | undefined; readonly freeBytes?: number | undefined }
    | undefined;
  /** Its half of a trial of the shared storage (storage/contract.ts). */
  tryStorage(name: string, act: TrialAct): Promise<TrialAnswer>;
  /** Seconds since the process started. */
  uptime(): number;
}

export interface AdminParts {
  readonly node: NodeView;
  readonly members: MembersView;
  readonly accounts: Accounts;
  readonly administrators: Administrators;
  readonly site: SiteSettings;
  readonly documents: SiteDocuments;
  readonly intents: Intents;
  readonly requests: RememberedRequests;
  readonly protection: SecurityParts;
  readonly backups: Backups;
  readonly usage?: UsageView;
  readonly audit?: AuditSink & AuditSearch;
  /** Seals a secret for the entry under this store key. */
  readonly seal?: (plaintext: string, storeKey: string) => string;
  /** Who does the cluster's own work, as this node knows. */
  readonly coordinator?: { holder(): CoordinatorHolder | undefined };
  /** The active node as this node knows; `mode` is undefined before there is a configuration. */
  readonly active?: { holder(): ActiveHolder | undefined; mode(): Mode | undefined };
  /** Planned switches between nodes in the mode active-passive. */
  readonly activeSwitch: ActiveSwitch;
  /** The page of metrics. */
  readonly metrics: { render(): Promise<{ readonly contentType: string; readonly body: string }> };
  readonly logger: Logger;
}
