import { certificates, record, security, upkeep } from "./alerts-operations.js";
import { clientReasons, sftpServers } from "./queries.js";

/** `critical`: partners are or are about to be hurt, somebody gets up. `warning`: today. `info`: good to know. */
export type Severity = "critical" | "warning" | "info";

export interface Alert {
  readonly name: string;
  readonly expression: string;
  /** How long the expression must hold, as Prometheus writes a duration. */
  readonly holds: string;
  readonly severity: Severity;
  /** One line; Prometheus's templates. */
  readonly summary: string;
  /** What it means for partners, and what to look at first. */
  readonly description: string;
}

export interface AlertGroup {
  readonly name: string;
  readonly alerts: readonly Alert[];
}

/** Below this share of the volume the storage is nearly full. */
export const STORAGE_LOW = 0.1;
/** Of a folder's quota. */
export const FOLDER_FULL = 0.9;

/** Event-loop lag past which a node is overloaded, in seconds: every request there waits that long now and then. */
export const LAG_HIGH_S = 0.5;

/** A target that never answered is a slot that nobody uses yet: it is no fault until a day after it was last there. */
const wasUp = (job: string) => `up{job="${job}"} == 0 and max_over_time(up{job="${job}"}[1d]) == 1`;
/** 0 rather than nothing where no node can be asked. */
const readyNodes = `(
  sum by (site) (longshore_node_state{state="ready"})
  or 0 * count by (site) (up{job="longshore"})
)`;

/** Those that serve, and those that would take over (mode active-passive). */
const wellNodes = `(
  sum by (site) (longshore_node_state{state=~"ready|passive"})
  or 0 * count by (site) (up{job="longshore"})
)`;

const nodes: AlertGroup = {
  name: "longshore-nodes",
  alerts: [
    {
      name: "LongshoreSiteServesNobody",
      expression: `${readyNodes} == 0`,
      holds: "15s",
      severity: "critical",
      summary: "{{ $labels.site }}: no node takes partners",
      description: "Partners can't log in, or can only read for a minute. See which state the nodes are in, and why.",
    },
    {
      name: "LongshoreSiteBelowTwoReadyNodes",
      expression: `${wellNodes} < 2`,
      holds: "30s",
      severity: "critical",
      summary: "{{ $labels.site }}: {{ $value }} well node(s): the next failure is an outage",
      description: "Partners are served. Bring a second node back, or undrain one, before anything else.",
    },
    {
      name: "LongshoreActiveNodeFlapping",
      expression: `sum by (site) (increase(longshore_active_takeovers_total{how=~"takeover|restart|handover"}[15m])) > 3`,
      holds: "0s",
      severity: "warning",
      summary: "{{ $labels.site }} changed its active node {{ $value | humanize }} times within 15 minutes",
      description: "Each time partners' sessions end or move. Who and why: longshore audit search --kind active.",
    },
    {
      name: "LongshoreNodeDown",
      expression: wasUp("longshore"),
      holds: "30s",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} doesn't answer",
      description:
        "Its sessions have ended, and partners reconnect to other nodes. The node may also be out of reach only.",
    },
    {
      name: "LongshoreNodeCutOff",
      expression: `longshore_node_state{state="cut-off"} == 1`,
      holds: "30s",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} is cut off from etcd or the storage",
      description: "It takes no uploads and no new sessions; after a minute its sessions end.",
    },
    {
      name: "LongshoreNodeNotReady",
      expression: `longshore_node_state{state="joining"} == 1`,
      holds: "2m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} has been starting for minutes",
      description: "It runs but takes no partners. `longshore status` gives the reason.",
    },
    {
      name: "LongshoreNodeDrainForgotten",
      expression: `longshore_node_state{state="draining"} == 1`,
      holds: "4h",
      severity: "info",
      summary: "{{ $labels.node }} of {{ $labels.site }} has been drained for four hours",
      description: "Was it forgotten after maintenance? `longshore node undrain` takes it back.",
    },
    {
      name: "LongshoreNodeRestarting",
      expression: `changes(process_start_time_seconds{job="longshore"}[15m]) > 3`,
      holds: "0s",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} started {{ $value }} times within 15 minutes",
      description: "Each time its sessions end. The end of its log says why.",
    },
    {
      name: "LongshoreNodeOverloaded",
      expression: `avg_over_time(longshore_event_loop_lag_seconds[5m]) > ${LAG_HIGH_S}`,
      holds: "2m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} answers late, by {{ $value | humanizeDuration }}",
      description: "Its event loop is blocked or its machine is short of CPU; all of its sessions are slow.",
    },
    {
      name: "LongshoreNativeCryptoMissing",
      expression: "longshore_native_crypto_loaded == 0",
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} encrypts in JavaScript",
      description: "All works, but SFTP is several times slower than it could be.",
    },
    {
      name: "LongshoreClockOff",
      expression: "abs(longshore_clock_offset_seconds) > 5",
      holds: "1m",
      severity: "warning",
      summary:
        "The clock of {{ $labels.node }} of {{ $labels.site }} is {{ $value | humanizeDuration }} off the other nodes'",
      description: "Decisions go by the others' clocks, but its log, its audit records and its files' times are wrong.",
    },
    {
      name: "LongshoreVersionsDiffer",
      expression: "count by (site) (count by (site, version) (longshore_build_info)) > 1",
      holds: "1h",
      severity: "info",
      summary: "{{ $labels.site }} runs {{ $value }} versions of Longshore",
      description: "An upgrade isn't finished, or a node was left out of it.",
    },
  ],
};

const partners: AlertGroup = {
  name: "longshore-partners",
  alerts: [
    {
      name: "LongshoreCommitErrors",
      expression: `sum by (site, node, reason) (increase(longshore_commit_errors_total{reason!~"${clientReasons}"}[5m])) > 0`,
      holds: "0s",
      severity: "critical",
      summary: "{{ $labels.node }} of {{ $labels.site }} fails to commit uploads: {{ $labels.reason }}",
      description: "Partners see their uploads fail. What arrived is kept and can be resumed.",
    },
    {
      name: "LongshoreCommitsSlow",
      expression: "histogram_quantile(0.99, sum by (site, le) (rate(longshore_commit_seconds_bucket[5m]))) > 2",
      holds: "5m",
      severity: "warning",
      summary:
        "{{ $labels.site }}: one upload in a hundred waits {{ $value | humanizeDuration }} for its acknowledgement",
      description: "The storage's sync or etcd's is slow; partners with many small files notice first.",
    },
    {
      name: "LongshoreLoginsBusy",
      expression: `sum by (site, node) (increase(longshore_logins_total{outcome="busy"}[5m])) > 0`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} turns logins away: too many passwords to check at once",
      description: "Right passwords are refused, too, and clients try again. Somebody may be guessing passwords.",
    },
    {
      name: "LongshoreConnectionsTurnedAway",
      expression: `sum by (site, node, reason) (increase(longshore_connections_refused_total{reason!="draining"}[5m])) > 10`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} turns connections away: {{ $labels.reason }}",
      description:
        "`untrusted` and `proxy-...` are a misconfigured balancer or somebody who goes around it; `limit-...` is load, or an attack.",
    },
  ],
};

const configuration: AlertGroup = {
  name: "longshore-configuration",
  alerts: [
    {
      name: "LongshoreConfigLag",
      expression: "longshore_config_lag_seconds > 5",
      holds: "30s",
      severity: "warning",
      summary:
        "{{ $labels.node }} of {{ $labels.site }} hasn't heard of its configuration for {{ $value | humanizeDuration }}",
      description: "It may serve accounts as they were. It lacks etcd, or its watch doesn't come back.",
    },
    {
      name: "LongshoreConfigBehind",
      expression: `max by (site) (longshore_config_revision) - on (site) group_right () longshore_config_revision > 0`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.node }} of {{ $labels.site }} is {{ $value }} revisions behind the others",
      description: "It serves accounts as they were, and doesn't know it.",
    },
    {
      name: "LongshoreConfigMismatch",
      expression: `max by (site) (longshore_config_fingerprint) != min by (site) (longshore_config_fingerprint)
and max by (site) (longshore_config_revision) == min by (site) (longshore_config_revision)
or max by (site) (longshore_config_mismatch) == 1`,
      holds: "1m",
      severity: "critical",
      summary: "{{ $labels.site }}: nodes work with different configurations, keys or certificates",
      description:
        "A partner may be let in by one node and not by another. `longshore status` names the node; a file was renewed on some nodes only, or they run different versions.",
    },
    {
      name: "LongshoreConfigInvalid",
      expression: "longshore_config_invalid == 1",
      holds: "30s",
      severity: "critical",
      summary: "{{ $labels.node }} of {{ $labels.site }} can't use an entry of the configuration",
      description: "It keeps the last good configuration: no change takes effect. The node's log names the entry.",
    },
  ],
};

const storage: AlertGroup = {
  name: "longshore-storage",
  alerts: [
    {
      name: "LongshoreStorageUnhealthy",
      expression: "longshore_storage_healthy == 0",
      holds: "15s",
      severity: "critical",
      summary: "{{ $labels.node }} of {{ $labels.site }} can't use the storage",
      description:
        "It is full, gone, hung, or not this site's. Uploads fail there; what is readable can still be read.",
    },
    {
      name: "LongshoreStorageNearlyFull",
      expression: `min by (site) (longshore_storage_free_bytes / longshore_storage_size_bytes) < ${STORAGE_LOW}`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.site }}: {{ $value | humanizePercentage }} of the storage is free",
      description: "When it is full, partners' uploads fail.",
    },
    {
      name: "LongshoreFolderNearlyFull",
      expression: `max by (site, folder) (longshore_folder_used_bytes / longshore_folder_limit_bytes) > ${FOLDER_FULL}`,
      holds: "5m",
      severity: "warning",
      summary: "{{ $labels.site }}: {{ $value | humanizePercentage }} of the quota of {{ $labels.folder }} is used",
      description: "When it is full, uploads into it fail.",
    },
    {
      name: "LongshoreStorageFilling",
      expression: `min by (site) (predict_linear(longshore_storage_free_bytes[1h], 4 * 3600)) < 0
and min by (site) (longshore_storage_free_bytes / longshore_storage_size_bytes) < ${2 * STORAGE_LOW}`,
      holds: "10m",
      severity: "critical",
      summary: "{{ $labels.site }}: the storage will be full within four hours",
      description: "At the rate of the last hour. When it is full, partners' uploads fail.",
    },
  ],
};

const balancers: AlertGroup = {
  name: "longshore-balancers",
  alerts: [
    {
      name: "LongshoreBalancerDown",
      expression: wasUp("haproxy"),
      holds: "30s",
      severity: "critical",
      summary: "{{ $labels.balancer }} of {{ $labels.site }} doesn't answer",
      description: "Partners who come to its address reach nobody, unless another balancer takes the address.",
    },
    {
      name: "LongshoreBalancerHasNoNode",
      expression: `haproxy_backend_active_servers{proxy="sftp"} == 0`,
      holds: "15s",
      severity: "critical",
      summary: "{{ $labels.balancer }} of {{ $labels.site }} knows no node that takes new sessions",
      description: "New sessions go to the last resort for a minute at most, then nowhere.",
    },
    {
      name: "LongshoreBalancerMissesNode",
      expression: `longshore_node_state{state="ready"} == 1
and on (site, node)
  label_replace(haproxy_server_status{${sftpServers},state="DOWN"} == 1, "node", "$1", "server", "(.+)")`,
      holds: "30s",
      severity: "warning",
      summary: "A balancer of {{ $labels.site }} holds {{ $labels.node }} for down, but it is ready",
      description: "The network between them, or the balancer's list of addresses.",
    },
    {
      name: "LongshoreNodeFlapping",
      expression: `sum by (site, balancer, server) (increase(haproxy_server_check_up_down_total{${sftpServers}}[15m])) > 3`,
      holds: "0s",
      severity: "warning",
      summary:
        '{{ $labels.server }} of {{ $labels.site }} went down {{ $value | printf "%.0f" }} times within 15 minutes',
      description: "As {{ $labels.balancer }} sees it. Each time the sessions there end.",
    },
    {
      name: "LongshoreBalancerNearlyFull",
      expression: `haproxy_frontend_current_sessions{proxy="sftp"} / haproxy_frontend_limit_sessions{proxy="sftp"} > 0.8`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.balancer }} of {{ $labels.site }} carries {{ $value | humanizePercentage }} of its sessions",
      description: "Past its limit new connections wait, and then fail.",
    },
  ],
};

const etcd: AlertGroup = {
  name: "longshore-etcd",
  alerts: [
    {
      name: "LongshoreEtcdNoQuorum",
      expression: `max by (site) (etcd_server_has_leader{job="etcd"}) == 0
or sum by (site) (up{job="etcd"}) < floor(count by (site) (up{job="etcd"}) / 2) + 1`,
      holds: "15s",
      severity: "critical",
      summary: "{{ $labels.site }}: etcd has no majority",
      description: "No upload is committed and nothing can be changed. Partners still read for a minute.",
    },
    {
      name: "LongshoreEtcdMemberDown",
      expression: `up{job="etcd"} == 0`,
      holds: "30s",
      severity: "warning",
      summary: "{{ $labels.member }} of {{ $labels.site }} doesn't answer",
      description: "With three members the site goes on with two, and stops with one.",
    },
    {
      name: "LongshoreEtcdLeaderChanges",
      expression: `increase(etcd_server_leader_changes_seen_total[15m]) > 3`,
      holds: "0s",
      severity: "warning",
      summary:
        '{{ $labels.member }} of {{ $labels.site }} saw {{ $value | printf "%.0f" }} leader changes within 15 minutes',
      description: "Slow disks or a bad network between the members; commits stall for a second each time.",
    },
    {
      name: "LongshoreEtcdDiskSlow",
      expression: `histogram_quantile(0.99, sum by (site, member, le) (rate(etcd_disk_wal_fsync_duration_seconds_bucket[5m]))) > 0.25`,
      holds: "5m",
      severity: "warning",
      summary: "{{ $labels.member }} of {{ $labels.site }} takes {{ $value | humanizeDuration }} to sync its log",
      description: "Each commit waits for a majority's sync. etcd wants a disk that syncs within 10 ms.",
    },
    {
      name: "LongshoreEtcdDatabaseNearlyFull",
      expression: "etcd_mvcc_db_total_size_in_bytes / etcd_server_quota_backend_bytes > 0.8",
      holds: "5m",
      severity: "critical",
      summary:
        "{{ $labels.member }} of {{ $labels.site }}: its database has {{ $value | humanizePercentage }} of its quota",
      description: "At 100 % etcd takes no writes, so no upload is committed.",
    },
    {
      name: "LongshoreStoreErrors",
      expression: "sum by (site, node) (increase(longshore_store_errors_total[5m])) > 5",
      holds: "1m",
      severity: "warning",
      summary:
        '{{ $labels.node }} of {{ $labels.site }}: {{ $value | printf "%.0f" }} calls to etcd failed within 5 minutes',
      description: "Some commits and changes were late or failed. If etcd is well, look at the network to it.",
    },
  ],
};

const monitoring: AlertGroup = {
  name: "longshore-monitoring",
  alerts: [
    {
      name: "LongshoreMonitoringDown",
      expression: `up{job=~"prometheus|alertmanager"} == 0`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.job }} of {{ $labels.site }} doesn't answer",
      description: "Without Alertmanager nobody is told of anything.",
    },
    {
      name: "LongshoreAlertsNotDelivered",
      expression: "sum by (site, integration) (increase(alertmanager_notifications_failed_total[5m])) > 0",
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.site }}: alerts by {{ $labels.integration }} aren't delivered",
      description: "Alertmanager's log says what the mail server or the webhook answered.",
    },
  ],
};

export const ALERT_GROUPS: readonly AlertGroup[] = [
  nodes,
  partners,
  configuration,
  storage,
  balancers,
  etcd,
  certificates,
  security,
  record,
  upkeep,
  monitoring,
];

/** Where each alert is explained: one section, named after it. */
export const RUNBOOK = "docs/runbooks/alerts.md";
