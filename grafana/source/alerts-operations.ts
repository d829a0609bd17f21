import type { AlertGroup } from "./alerts.js";

/** What the site does besides serving partners: keeping attackers out, keeping the record, looking after itself. */

/** When a certificate is worth a word, and when somebody gets up. `longshore status` says it from the first on. */
export const CERTIFICATE_DAYS = { warning: 21, critical: 3 } as const;
/** Two nights without a backup: one may fail. */
export const BACKUP_DAYS = 2;

const DAY_S = 86_400;
const certificateEnds = (days: number) =>
  `longshore_certificate_expiry_timestamp_seconds - time() < ${days} * ${DAY_S}`;

export const certificates: AlertGroup = {
  name: "longshore-certificates",
  alerts: [
    {
      name: "LongshoreCertificateExpires",
      expression: certificateEnds(CERTIFICATE_DAYS.warning),
      holds: "15m",
      severity: "warning",
      summary:
        "{{ $labels.node }} of {{ $labels.site }}: its certificate ({{ $labels.use }}) ends in {{ $value | humanizeDuration }}",
      description: "Renew it. Then nodes don't reach etcd, or nobody reaches their admin ports.",
    },
    {
      name: "LongshoreCertificateExpired",
      expression: certificateEnds(CERTIFICATE_DAYS.critical),
      holds: "1m",
      severity: "critical",
      summary:
        "{{ $labels.node }} of {{ $labels.site }}: its certificate ({{ $labels.use }}) has ended or ends in {{ $value | humanizeDuration }}",
      description: "Once it has ended the balancers hold the node for dead (`admin`), or it is cut off from etcd.",
    },
  ],
};

export const security: AlertGroup = {
  name: "longshore-security",
  alerts: [
    {
      name: "LongshoreManyBans",
      expression: `sum by (site) (increase(longshore_security_measures_total{measure="ban"}[15m])) > 10`,
      holds: "0s",
      severity: "warning",
      summary: '{{ $labels.site }}: {{ $value | printf "%.0f" }} addresses were banned within 15 minutes',
      description: "Somebody guesses passwords from many addresses. Partners are served; see that none is among them.",
    },
    {
      name: "LongshoreAccountsLockedOut",
      expression: `sum by (site) (increase(longshore_security_measures_total{measure="lockout"}[15m])) > 3`,
      holds: "0s",
      severity: "warning",
      summary: '{{ $labels.site }}: {{ $value | printf "%.0f" }} accounts were locked out within 15 minutes',
      description: "Their passwords are refused from addresses that never logged in. Their keys are taken as before.",
    },
    {
      name: "LongshoreLoginsThrottled",
      expression: "sum by (site) (rate(longshore_logins_throttled_total[5m])) > 1",
      holds: "10m",
      severity: "info",
      summary: '{{ $labels.site }}: {{ $value | printf "%.1f" }} logins a second wait because of failures before',
      description: "A slow attack, or a partner's job that tries a wrong password again and again.",
    },
    {
      name: "LongshoreAdminRefusals",
      expression: "sum by (site) (increase(longshore_admin_refusals_total[15m])) > 30",
      holds: "0s",
      severity: "warning",
      summary: '{{ $labels.site }}: {{ $value | printf "%.0f" }} admin requests were refused within 15 minutes',
      description: "Somebody guesses a token, or a script has one that was revoked. The nodes' logs say from where.",
    },
  ],
};

export const record: AlertGroup = {
  name: "longshore-audit",
  alerts: [
    {
      name: "LongshoreAuditRecordsLost",
      expression: "increase(longshore_audit_lost_records[15m]) > 0",
      holds: "0s",
      severity: "critical",
      summary: '{{ $labels.node }} of {{ $labels.site }} couldn\'t keep {{ $value | printf "%.0f" }} audit records',
      description: "Its own disk is full or broken. The log has a gap there.",
    },
    {
      name: "LongshoreAuditNotShipped",
      expression: "longshore_audit_ship_lag_seconds > 300",
      holds: "5m",
      severity: "warning",
      summary:
        "{{ $labels.node }} of {{ $labels.site }} has audit records of {{ $value | humanizeDuration }} ago on its own disk only",
      description: "They would be lost with its disk. The shared storage is gone, read-only or full for them.",
    },
    {
      name: "LongshoreAuditSpoolNearlyFull",
      expression: "longshore_audit_spool_bytes > 0.7 * 2^30",
      holds: "1m",
      severity: "critical",
      summary: "{{ $labels.node }} of {{ $labels.site }} holds {{ $value | humanize1024 }}B of audit records back",
      description: "At 1 GiB the node takes no partners any more.",
    },
    {
      name: "LongshoreAuditDamaged",
      expression: "longshore_audit_chain_errors > 0",
      holds: "0s",
      severity: "critical",
      summary: '{{ $labels.node }} of {{ $labels.site }} found {{ $value | printf "%.0f" }} damaged audit segments',
      description: "A disk that lies, or somebody who changed the record. `longshore audit verify` names the place.",
    },
  ],
};

export const upkeep: AlertGroup = {
  name: "longshore-upkeep",
  alerts: [
    {
      name: "LongshoreNoCoordinator",
      expression: `sum by (site) (longshore_coordinator) == 0
and sum by (site) (longshore_node_state{state="ready"}) > 0`,
      holds: "1m",
      severity: "warning",
      summary: "{{ $labels.site }}: no node does the cluster's own work",
      description: "Accounts don't expire by inactivity and no notices are sent. Another node takes over within 6 s.",
    },
    {
      name: "LongshoreCoordinatorChanges",
      expression: "max by (site) (changes(longshore_coordinator_generation[15m])) > 3",
      holds: "0s",
      severity: "warning",
      summary: '{{ $labels.site }}: the coordinator changed {{ $value | printf "%.0f" }} times within 15 minutes',
      description: "Nodes lose their leases: they are overloaded, or the network to etcd is bad.",
    },
    {
      name: "LongshoreBackupOld",
      expression: `time() - max by (site) (longshore_last_backup_timestamp_seconds) > ${BACKUP_DAYS} * ${DAY_S}
or (
  max by (site) (time() - process_start_time_seconds{job="longshore"}) > ${BACKUP_DAYS} * ${DAY_S}
  unless on (site) longshore_last_backup_timestamp_seconds
)`,
      holds: "1h",
      severity: "warning",
      summary: "{{ $labels.site }}: no backup for {{ $value | humanizeDuration }}",
      description:
        "Since the last one, or since the start of a site that never had one. Accounts made since are in none.",
    },
  ],
};
