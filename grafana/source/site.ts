import type { Dashboard } from "@grafana/grafana-foundation-sdk/dashboard";
import { FOLDER_FULL, STORAGE_LOW } from "./alerts.js";
import { dashboard, type Page } from "./dashboard.js";
import { graph, stat, timeline } from "./panels.js";
import {
  everUp,
  NODE_STATE_WORDS,
  nodeState,
  quantile,
  rate,
  SERVER_STATE_WORDS,
  serverState,
  sftpServers,
} from "./queries.js";
import { security, upkeep } from "./site-operations.js";

const SITE = `site="$site"`;
const NODES = `${SITE},node=~"$node"`;
const UPLOADS = `${NODES},direction="upload"`;

/** Rows from what an operator asks first to what explains it. */
export function siteDashboard(): Dashboard {
  return dashboard({
    uid: "longshore-site",
    title: "Longshore / Site",
    description: "One site: is everything up, what do partners do, and what holds them up?",
    severalNodes: true,
    rows: [glance, partners, security, commits, configuration, upkeep, balancers, etcd],
  });
}

type Row = Page["rows"][number];

/** How many targets of a job are missing that were there within the last day. */
const missing = (job: string) => `sum(1 - ${everUp(`job="${job}",${SITE}`)})`;

const glance: Row = {
  title: "At a glance",
  panels: [
    stat({
      title: "Ready nodes",
      description: "Nodes that take partners. With fewer than two the next failure is an outage.",
      unit: "short",
      base: "red",
      steps: [
        [1, "orange"],
        [2, "green"],
      ],
      queries: [{ expression: `sum(longshore_node_state{${SITE},state="ready"}) or vector(0)` }],
      width: 3,
    }),
    stat({
      title: "Nodes drained or cut off",
      description: "Nodes that run but take no new partners: draining, cut off, or not yet ready.",
      unit: "short",
      steps: [[1, "orange"]],
      queries: [{ expression: `sum(longshore_node_state{${SITE},state!="ready"}) or vector(0)` }],
      width: 3,
    }),
    stat({
      title: "Missing",
      description: "Nodes, balancers and etcd members that answered within the last day and don't now.",
      unit: "short",
      steps: [[1, "red"]],
      queries: [
        { expression: missing("longshore"), legend: "nodes" },
        { expression: missing("haproxy"), legend: "balancers" },
        { expression: missing("etcd"), legend: "etcd" },
      ],
      width: 6,
    }),
    stat({
      title: "Alerts",
      description: "Alerts of this site that fire now. docs/runbooks/alerts.md explains each.",
      unit: "short",
      steps: [[1, "red"]],
      queries: [{ expression: `count(ALERTS{${SITE},alertstate="firing"}) or vector(0)` }],
      width: 3,
    }),
    stat({
      title: "Sessions",
      description: "SFTP sessions open now, on all nodes.",
      unit: "short",
      queries: [{ expression: `sum(longshore_sessions{${SITE}})` }],
      width: 3,
    }),
    stat({
      title: "Transfers",
      description: "Uploads and downloads under way, on all nodes.",
      unit: "short",
      queries: [{ expression: `sum(longshore_transfers_running{${SITE}})` }],
      width: 3,
    }),
    stat({
      title: "Storage free",
      description: "Share of the shared storage that is free. When it is full, uploads fail.",
      unit: "percentunit",
      base: "red",
      steps: [
        [STORAGE_LOW, "orange"],
        [2 * STORAGE_LOW, "green"],
      ],
      queries: [{ expression: `min(longshore_storage_free_bytes{${SITE}} / longshore_storage_size_bytes{${SITE}})` }],
      width: 3,
    }),
    timeline({
      title: "Nodes",
      description:
        "Each node's state as it says itself. Draining is an operator's wish; cut off means no etcd or no storage.",
      unit: "short",
      words: NODE_STATE_WORDS,
      queries: [{ expression: nodeState(NODES), legend: "{{node}}" }],
      width: 12,
    }),
    timeline({
      title: "Everything that is scraped",
      description: "Whether each part answers Prometheus; parts that were silent all day are left out.",
      unit: "short",
      base: "red",
      steps: [[1, "green"]],
      words: { 0: ["no answer", "red"], 1: ["up", "green"] },
      queries: [{ expression: everUp(SITE), legend: "{{job}} {{node}}{{balancer}}{{member}}" }],
      width: 12,
    }),
  ],
};

const partners: Row = {
  title: "Partners",
  panels: [
    graph({
      title: "Sessions by node",
      description: "SFTP sessions open. The balancers keep them even; a node without any is drained, cut off or down.",
      unit: "short",
      stacked: true,
      queries: [{ expression: `sum by (node) (longshore_sessions{${NODES}})`, legend: "{{node}}" }],
      width: 8,
    }),
    graph({
      title: "Throughput",
      description: "Bytes of files moved in a second. A running transfer counts in steps of 4 MiB.",
      unit: "Bps",
      queries: [{ expression: rate("longshore_transfer_bytes_total", NODES, "direction"), legend: "{{direction}}" }],
      width: 8,
    }),
    graph({
      title: "Transfers under way",
      description: "Uploads and downloads open now, by node.",
      unit: "short",
      stacked: true,
      queries: [{ expression: `sum by (node) (longshore_transfers_running{${NODES}})`, legend: "{{node}}" }],
      width: 8,
    }),
    graph({
      title: "Uploads ended",
      description:
        "In a second, by outcome. `complete`: the client has its success; `partial`: its connection ended first; `failed`: refused or failed; `unknown`: it may or may not be committed.",
      unit: "ops",
      queries: [{ expression: rate("longshore_transfers_total", UPLOADS, "outcome"), legend: "{{outcome}}" }],
      width: 8,
    }),
    graph({
      title: "Downloads ended",
      description: "In a second, by outcome. Clients that break off make `partial`.",
      unit: "ops",
      queries: [
        {
          expression: rate("longshore_transfers_total", `${NODES},direction="download"`, "outcome"),
          legend: "{{outcome}}",
        },
      ],
      width: 8,
    }),
    graph({
      title: "Logins",
      description:
        "Attempts with a credential in a second. Many `refused` is somebody guessing; `busy` turns right passwords away, too.",
      unit: "ops",
      queries: [{ expression: rate("longshore_logins_total", NODES, "outcome"), legend: "{{outcome}}" }],
      width: 8,
    }),
    graph({
      title: "Connections turned away",
      description:
        "In a second, before SSH, by reason. `draining` is normal for moments; `untrusted` and `proxy-...` aren't a balancer of this site, or a misconfigured one.",
      unit: "ops",
      queries: [{ expression: rate("longshore_connections_refused_total", NODES, "reason"), legend: "{{reason}}" }],
      width: 8,
    }),
    graph({
      title: "Connections ended",
      description: "In a second, by reason: mostly `client`. `lost` is the network, `not-ssh` is scanners.",
      unit: "ops",
      queries: [{ expression: rate("longshore_connections_closed_total", NODES, "reason"), legend: "{{reason}}" }],
      width: 8,
    }),
    graph({
      title: "SFTP failures",
      description: "Failure replies in a second. `no-such-file` is common: clients ask before they write.",
      unit: "ops",
      queries: [{ expression: rate("longshore_sftp_failures_total", NODES, "status"), legend: "{{status}}" }],
      width: 8,
    }),
  ],
};

const commits: Row = {
  title: "Commits and the store",
  panels: [
    graph({
      title: "Commit latency",
      description:
        "From the last byte of an upload to its acknowledgement: sync, transaction, rename, sync. Tens of milliseconds are normal. Empty while nobody uploads.",
      unit: "s",
      steps: [[2, "red"]],
      queries: [
        { expression: quantile(0.5, "longshore_commit_seconds", NODES), legend: "p50" },
        { expression: quantile(0.99, "longshore_commit_seconds", NODES), legend: "p99" },
      ],
      width: 8,
    }),
    graph({
      title: "Commit errors",
      description: "Uploads that weren't committed, in a second, by reason. Normal is none; what arrived is kept.",
      unit: "ops",
      queries: [{ expression: rate("longshore_commit_errors_total", NODES, "reason"), legend: "{{reason}}" }],
      width: 8,
    }),
    graph({
      title: "Work of others finished",
      description:
        "Uploads taken over, committed or swept for nodes that died or clients that came back elsewhere, in a second.",
      unit: "ops",
      queries: [{ expression: rate("longshore_recoveries_total", NODES, "action"), legend: "{{action}}" }],
      width: 8,
    }),
    graph({
      title: "Store calls",
      description:
        "Calls to the coordination store in a second. `transact` follows uploads, `list` changes and heartbeats.",
      unit: "reqps",
      queries: [{ expression: rate("longshore_store_seconds_count", NODES, "call"), legend: "{{call}}" }],
      width: 8,
    }),
    graph({
      title: "Store latency, p99",
      description: "A few milliseconds are normal; a call ends after 6 s at the latest.",
      unit: "s",
      steps: [[1, "red"]],
      queries: [{ expression: quantile(0.99, "longshore_store_seconds", NODES, "call"), legend: "{{call}}" }],
      width: 8,
    }),
    graph({
      title: "Store errors",
      description: "Calls that failed, in a second. `unknown`: the change may or may not have been made.",
      unit: "ops",
      queries: [
        { expression: rate("longshore_store_errors_total", NODES, "call, outcome"), legend: "{{call}} {{outcome}}" },
      ],
      width: 8,
    }),
  ],
};

const configuration: Row = {
  title: "Configuration and storage",
  panels: [
    graph({
      title: "Configuration revision",
      description: "Of the configuration in force, by node: one line, for all nodes lie on it.",
      unit: "short",
      queries: [{ expression: `max by (node) (longshore_config_revision{${NODES}})`, legend: "{{node}}" }],
      width: 6,
    }),
    graph({
      title: "Configuration lag",
      description: "How long a node has known that its configuration may be behind. Normal is 0.",
      unit: "s",
      steps: [[5, "red"]],
      queries: [{ expression: `max by (node) (longshore_config_lag_seconds{${NODES}})`, legend: "{{node}}" }],
      width: 6,
    }),
    stat({
      title: "Configurations in force",
      description: "How many different ones the nodes run. More than one for longer than a moment is a fault.",
      unit: "short",
      steps: [[2, "red"]],
      queries: [{ expression: `count(count_values("fingerprint", longshore_config_fingerprint{${SITE}}))` }],
      width: 3,
    }),
    graph({
      title: "Members",
      description: "Ready nodes as each node last heard of them. Different lines: some nodes don't hear of others.",
      unit: "short",
      queries: [{ expression: `max by (node) (longshore_members{${NODES},state="ready"})`, legend: "{{node}}" }],
      width: 4,
    }),
    graph({
      title: "Storage space",
      description: "Space that uploads may take, and the size of the volume. Absent while no node can use the storage.",
      unit: "bytes",
      queries: [
        { expression: `min(longshore_storage_free_bytes{${SITE}})`, legend: "free" },
        { expression: `max(longshore_storage_size_bytes{${SITE}})`, legend: "size" },
      ],
      width: 5,
    }),
    graph({
      title: "Folders' quotas, the part used",
      description: "Of the ten fullest folders that have a quota. At 1, uploads into it are refused.",
      unit: "percentunit",
      steps: [[FOLDER_FULL, "red"]],
      queries: [
        {
          expression: `topk(10, max by (folder) (longshore_folder_used_bytes{${SITE}} / longshore_folder_limit_bytes{${SITE}}))`,
          legend: "{{folder}}",
        },
      ],
      width: 12,
    }),
    graph({
      title: "Refused for a quota",
      description: "Uploads and renames in a second, by node.",
      unit: "ops",
      queries: [{ expression: rate("longshore_quota_refusals_total", NODES, "node"), legend: "{{node}}" }],
      width: 12,
    }),
  ],
};

const balancers: Row = {
  title: "Balancers",
  panels: [
    timeline({
      title: "Nodes as the balancers see them",
      description: "`drain`: no new sessions, running ones go on. `down`: its sessions were ended.",
      unit: "short",
      words: SERVER_STATE_WORDS,
      queries: [{ expression: serverState(SITE), legend: "{{balancer}} {{server}}" }],
      width: 12,
    }),
    graph({
      title: "Connections by balancer",
      description: "Connections open, and the limit past which new ones wait.",
      unit: "short",
      queries: [
        {
          expression: `sum by (balancer) (haproxy_frontend_current_sessions{${SITE},proxy="sftp"})`,
          legend: "{{balancer}}",
        },
        { expression: `min(haproxy_frontend_limit_sessions{${SITE},proxy="sftp"})`, legend: "limit" },
      ],
      width: 6,
    }),
    graph({
      title: "Connections to each node",
      description: "Connections open to each node, last resort included. The lines lie close together.",
      unit: "short",
      queries: [
        {
          expression: `sum by (server) (haproxy_server_current_sessions{${SITE},proxy="sftp"})`,
          legend: "{{server}}",
        },
      ],
      width: 6,
    }),
    graph({
      title: "New connections",
      description: "Connections taken in a second, by balancer.",
      unit: "ops",
      queries: [
        {
          expression: rate("haproxy_frontend_sessions_total", `${SITE},proxy="sftp"`, "balancer"),
          legend: "{{balancer}}",
        },
      ],
      width: 6,
    }),
    graph({
      title: "Retries and errors",
      description:
        "Connections to nodes that were tried again, went to another node, or failed for good, in a second. Partners notice only the last.",
      unit: "ops",
      queries: [
        { expression: rate("haproxy_backend_retry_warnings_total", `${SITE},proxy="sftp"`), legend: "tried again" },
        {
          expression: rate("haproxy_backend_redispatch_warnings_total", `${SITE},proxy="sftp"`),
          legend: "sent elsewhere",
        },
        { expression: rate("haproxy_backend_connection_errors_total", `${SITE},proxy="sftp"`), legend: "failed" },
      ],
      width: 6,
    }),
    graph({
      title: "Failed checks",
      description: "Health checks of nodes that failed, in a second, as the balancers see them. Normal is none.",
      unit: "ops",
      queries: [
        {
          expression: rate("haproxy_server_check_failures_total", `${SITE},${sftpServers}`, "balancer, server"),
          legend: "{{balancer}} {{server}}",
        },
      ],
      width: 6,
    }),
    graph({
      title: "Bytes through the balancers",
      description: "In a second, encrypted, both ways.",
      unit: "Bps",
      queries: [
        { expression: rate("haproxy_frontend_bytes_in_total", `${SITE},proxy="sftp"`), legend: "from partners" },
        { expression: rate("haproxy_frontend_bytes_out_total", `${SITE},proxy="sftp"`), legend: "to partners" },
      ],
      width: 6,
    }),
  ],
};

const etcd: Row = {
  title: "etcd",
  panels: [
    timeline({
      title: "etcd members",
      description: "One leader, and the others follow it. A member without a leader serves nothing.",
      unit: "short",
      words: { 0: ["no leader", "red"], 1: ["follows", "green"], 2: ["leads", "blue"] },
      queries: [
        {
          expression: `max by (member) (etcd_server_has_leader{${SITE}}) + max by (member) (etcd_server_is_leader{${SITE}})`,
          legend: "{{member}}",
        },
      ],
      width: 8,
    }),
    graph({
      title: "Sync of the log, p99",
      description: "Each commit waits for a majority's sync. Below 10 ms on the disks that etcd wants.",
      unit: "s",
      steps: [
        [0.01, "yellow"],
        [0.25, "red"],
      ],
      queries: [
        { expression: quantile(0.99, "etcd_disk_wal_fsync_duration_seconds", SITE, "member"), legend: "{{member}}" },
      ],
      width: 8,
    }),
    graph({
      title: "Database",
      description: "Size on disk and what is in use of it. At its quota etcd takes no writes.",
      unit: "bytes",
      queries: [
        { expression: `max by (member) (etcd_mvcc_db_total_size_in_bytes{${SITE}})`, legend: "{{member}}" },
        { expression: `max(etcd_mvcc_db_total_size_in_use_in_bytes{${SITE}})`, legend: "in use" },
        { expression: `min(etcd_server_quota_backend_bytes{${SITE}})`, legend: "quota" },
      ],
      width: 8,
    }),
    graph({
      title: "Proposals",
      description:
        "Changes agreed on in a second, those that failed, and those that wait. More than a few that wait: a slow disk.",
      unit: "short",
      queries: [
        {
          expression: `max(rate(etcd_server_proposals_committed_total{${SITE}}[$__rate_interval]))`,
          legend: "committed",
        },
        { expression: rate("etcd_server_proposals_failed_total", SITE), legend: "failed" },
        { expression: `max(etcd_server_proposals_pending{${SITE}})`, legend: "waiting" },
      ],
      width: 8,
    }),
    graph({
      title: "Leader changes",
      description:
        "Within a quarter of an hour, as each member saw them. Each one holds commits up for about a second.",
      unit: "short",
      steps: [[3, "red"]],
      queries: [
        {
          expression: `max by (member) (increase(etcd_server_leader_changes_seen_total{${SITE}}[15m]))`,
          legend: "{{member}}",
        },
      ],
      width: 8,
    }),
    graph({
      title: "etcd memory",
      description: "Resident memory of each member.",
      unit: "bytes",
      queries: [
        { expression: `max by (member) (process_resident_memory_bytes{${SITE},job="etcd"})`, legend: "{{member}}" },
      ],
      width: 8,
    }),
  ],
};
