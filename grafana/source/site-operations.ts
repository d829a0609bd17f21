import { BACKUP_DAYS, CERTIFICATE_DAYS } from "./alerts-operations.js";
import type { Page } from "./dashboard.js";
import { graph, stat } from "./panels.js";
import { rate } from "./queries.js";

/** Rows of the site's dashboard about what it does besides serving partners. */

type Row = Page["rows"][number];
const SITE = `site="$site"`;
const NODES = `${SITE},node=~"$node"`;
const DAY_S = 86_400;

export const security: Row = {
  title: "Security",
  panels: [
    stat({
      title: "Bans",
      description: "Addresses that are banned now. `longshore ban list` names them.",
      unit: "short",
      queries: [{ expression: `max(longshore_bans{${SITE}})` }],
      width: 3,
    }),
    stat({
      title: "Lockouts",
      description: "Accounts whose password is refused from unknown addresses now.",
      unit: "short",
      queries: [{ expression: `max(longshore_lockouts{${SITE}})` }],
      width: 3,
    }),
    graph({
      title: "Bans and lockouts decided",
      description: "In a second, by what they are. Where several nodes decide alike, one is kept.",
      unit: "ops",
      queries: [{ expression: rate("longshore_security_measures_total", NODES, "measure"), legend: "{{measure}}" }],
      width: 6,
    }),
    graph({
      title: "Logins refused",
      description:
        "In a second, by reason; those that had to wait first because of failures before; and those past maxSessions.",
      unit: "ops",
      queries: [
        { expression: rate("longshore_logins_refused_total", NODES, "reason"), legend: "{{reason}}" },
        { expression: rate("longshore_logins_throttled_total", NODES), legend: "waited" },
        { expression: rate("longshore_session_limits_total", NODES), legend: "too many sessions" },
      ],
      width: 6,
    }),
    graph({
      title: "Sessions ended from outside",
      description: "In a second, by reason: banned, the account changed, or an administrator ended them.",
      unit: "ops",
      queries: [{ expression: rate("longshore_sessions_ended_total", NODES, "reason"), legend: "{{reason}}" }],
      width: 6,
    }),
    graph({
      title: "Admin requests refused",
      description: "In a second, for their token, by reason. Many `unknown`: somebody guesses.",
      unit: "ops",
      queries: [{ expression: rate("longshore_admin_refusals_total", NODES, "reason"), legend: "{{reason}}" }],
      width: 6,
    }),
    graph({
      title: "Counters of failed logins",
      description: "Writes of them to the store in a second: at most 4 a node, whatever the attack. Normal is none.",
      unit: "ops",
      queries: [{ expression: rate("longshore_security_flushes_total", NODES, "node"), legend: "{{node}}" }],
      width: 6,
    }),
  ],
};

export const upkeep: Row = {
  title: "Audit, coordinator, backups, certificates",
  panels: [
    graph({
      title: "Audit records",
      description: "Put on the record in a second, by node.",
      unit: "ops",
      queries: [
        // A gauge that starts anew with the process, as a counter does.
        { expression: rate("longshore_audit_records", NODES, "node"), legend: "{{node}}" },
      ],
      width: 6,
    }),
    graph({
      title: "Audit, on its way to the shared storage",
      description: "How long the oldest record has waited on a node's own disk. Below two seconds is normal.",
      unit: "s",
      steps: [[300, "red"]],
      queries: [{ expression: `max by (node) (longshore_audit_ship_lag_seconds{${NODES}})`, legend: "{{node}}" }],
      width: 6,
    }),
    graph({
      title: "Audit, on the nodes' own disks",
      description: "Bytes of segments there. At 1 GiB a node takes no partners.",
      unit: "bytes",
      queries: [{ expression: `max by (node) (longshore_audit_spool_bytes{${NODES}})`, legend: "{{node}}" }],
      width: 6,
    }),
    stat({
      title: "Audit faults",
      description: "Records that were lost, and damaged segments, since the nodes' starts.",
      unit: "short",
      steps: [[1, "red"]],
      queries: [
        { expression: `sum(longshore_audit_lost_records{${SITE}})`, legend: "lost" },
        { expression: `sum(longshore_audit_chain_errors{${SITE}})`, legend: "damaged" },
      ],
      width: 6,
    }),
    stat({
      title: "Coordinators",
      description: "Nodes that do the cluster's own work: one, but for seconds after a death.",
      unit: "short",
      base: "red",
      steps: [
        [1, "green"],
        [2, "orange"],
      ],
      queries: [{ expression: `sum(longshore_coordinator{${SITE}})` }],
      width: 4,
    }),
    graph({
      title: "Coordinator's generation",
      description: "Grows with each coordinator: a stair is nodes that lose their leases.",
      unit: "short",
      queries: [{ expression: `max(longshore_coordinator_generation{${SITE}})`, legend: "generation" }],
      width: 5,
    }),
    stat({
      title: "Last backup",
      description: "How long ago the site's last backup was made. Empty where none ever was.",
      unit: "s",
      steps: [[BACKUP_DAYS * DAY_S, "red"]],
      queries: [{ expression: `time() - max(longshore_last_backup_timestamp_seconds{${SITE}})` }],
      width: 5,
    }),
    stat({
      title: "Certificates end in",
      description: "The first one of each use to end, on any node.",
      unit: "s",
      base: "red",
      steps: [
        [CERTIFICATE_DAYS.critical * DAY_S, "orange"],
        [CERTIFICATE_DAYS.warning * DAY_S, "green"],
      ],
      queries: [
        {
          expression: `min by (use) (longshore_certificate_expiry_timestamp_seconds{${SITE}}) - time()`,
          legend: "{{use}}",
        },
      ],
      width: 5,
    }),
    graph({
      title: "Configurations or certificates differ",
      description: "1 while a node sees another one with a different configuration, key or certificate.",
      unit: "short",
      steps: [[1, "red"]],
      queries: [{ expression: `max by (node) (longshore_config_mismatch{${NODES}})`, legend: "{{node}}" }],
      width: 5,
    }),
  ],
};
