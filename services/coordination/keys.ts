/** The one place that knows how store keys are spelled (all relative to `/longshore/<site>/`). */
export const keys = {
  configPrefix: "config/",
  /** Rewritten by each change of configuration, so that deletions move the revision, too. */
  configHead: "config/head",
  /** There while a change that is larger than one transaction is put in force: the configuration is half made. */
  configApplying: "config/applying",
  /** Its operations, decided and on their way. */
  applyingPrefix: "applying/",
  /** When the last backup was made, and of what. */
  backupPrefix: "backups/",
  lastBackup: "backups/last",
  site: "config/site",
  accountPrefix: "config/accounts/",
  account: (name: string) => `config/accounts/${name}`,
  groupPrefix: "config/groups/",
  group: (name: string) => `config/groups/${name}`,
  profilePrefix: "config/profiles/",
  profile: (id: string) => `config/profiles/${id}`,
  certificatePrefix: "config/certificates/",
  certificate: (id: string) => `config/certificates/${id}`,
  administratorPrefix: "config/administrators/",
  administrator: (name: string) => `config/administrators/${name}`,
  /** What each change of configuration replaced; not part of the configuration. */
  configHistoryPrefix: "config-history/",
  configHistory: (id: string) => `config-history/${id}`,
  secretPrefix: "config/keys/",
  secret: (id: string) => `config/keys/${id}`,
  /** Requests of the admin API that were made under an Idempotency-Key. */
  idempotencyPrefix: "idempotency/",
  idempotency: (hash: string) => `idempotency/${hash}`,
  nodePrefix: "nodes/",
  node: (id: string) => `nodes/${id}`,
  /** Operator's wish for a node, outliving its lease: `drain`. */
  intentPrefix: "intents/",
  intent: (nodeId: string) => `intents/${nodeId}`,
  /** On the holder's lease (cluster/coordinator.ts). No other key may begin with it. */
  coordinator: "coordinator",
  /** Which node takes partners in the mode active-passive; on its lease (cluster/active.ts). No other key may begin with it. */
  active: "active",
  /** A node's last logins that the coordinator has not merged yet. */
  activityPrefix: "activity/",
  activity: (nodeId: string) => `activity/${nodeId}`,
  /** What the coordinator knows of an account's use: since when, last login. */
  lifePrefix: "life/",
  life: (account: string) => `life/${account}`,
  /** A notice that is sent, or about to be. */
  noticePrefix: "notices/",
  notice: (account: string, kind: string, date: string, daysBefore: number) =>
    `notices/${account}/${kind}/${date}/${daysBefore}`,
  slotPrefix: "slots/",
  slot: (slot: number) => `slots/${slot}`,
  /** A node's name, claimed like its slot. */
  slotName: (name: string) => `slots/name/${name}`,
  /** Says that some node of the site has used the store: from then on a missing sentinel is a missing mount. */
  storeUsed: (store: string) => `stores/${store}`,
  /** One per worker process, on its lease; its value is the id of its last transaction group (commit.md, step 2). */
  ownerPrefix: "owners/",
  owner: (incarnation: string) => `owners/${incarnation}`,
  /** Record of an operation on the shared storage (commit.md, steps 3 to 7). */
  opPrefix: "ops/",
  op: (id: string) => `ops/${id}`,
  /** The claim: one operation in flight per path. `path` is relative to the store root, without a leading slash. */
  namePrefix: (store: string) => `names/${store}/`,
  name: (store: string, path: string) => `names/${store}/${path}`,
  /** Everything below a directory. */
  namesBelow: (store: string, path: string) => `names/${store}/${path}/`,
  /** Failed logins that one node counted (one bounded key a node), and the bans and lockouts that followed. On no lease. */
  counterPrefix: "security/counters/",
  counters: (nodeId: string) => `security/counters/${nodeId}`,
  banPrefix: "security/bans/",
  lockoutPrefix: "security/lockouts/",
  /** Addresses, hashed, from which an account has logged in. */
  known: (account: string) => `security/known/${account}`,
  /** Bytes in a place with a quota (commit/usage.ts); `target`: as a folder's. */
  usagePrefix: (store: string) => `usage/${store}/`,
  usage: (store: string, target: string) => `usage/${store}/${target}`,
  /** Where a node's audit chain stood on the shared storage (audit/anchors.ts). On no lease. */
  auditAnchorPrefix: "audit/anchors/",
  auditAnchor: (nodeId: string) => `audit/anchors/${nodeId}`,
  /** How many sessions each limited account has on a node; on the node's lease. */
  sessionCountPrefix: "sessions/",
  sessionCounts: (nodeId: string) => `sessions/${nodeId}`,
  /** A question to all nodes, and their answers; on the asker's short lease. */
  askPrefix: "asks/",
  ask: (id: string) => `asks/${id}`,
  answerPrefix: (askId: string) => `answers/${askId}/`,
  answer: (askId: string, nodeId: string) => `answers/${askId}/${nodeId}`,
} as const;
