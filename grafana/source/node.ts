import type { Dashboard } from "@grafana/grafana-foundation-sdk/dashboard";
import { LAG_HIGH_S } from "./alerts.js";
import { dashboard, type Page } from "./dashboard.js";
import { graph, type StatOptions, stat } from "./panels.js";
import { NODE_STATE_WORDS, nodeState, quantile, RATE, rate } from "./queries.js";

const NODE = `site="$site",node="$node"`;
/** Metrics that every process has, so the job must be named. */
const PROCESS = `job="longshore",${NODE}`;

/** Why one node is slow, or not ready. */
export function nodeDashboard(): Dashboard {
  return dashboard({
    uid: "longshore-node",
    title: "Longshore / Node",
    description: "One node: is it well, what does it do, and what holds it up?",
    severalNodes: false,
    rows: [glance, partners, commits, processRow],
  });
}

type Row = Page["rows"][number];

/** One that says yes or no. */
const yesOrNo = (metric: string, options: Pick<StatOptions, "title" | "description">, good: 0 | 1) =>
  stat({
    ...options,
    unit: "short",
    words: { 0: ["no", good === 0 ? "green" : "red"], 1: ["yes", good === 1 ? "green" : "red"] },
    base: good === 0 ? "green" : "red",
    steps: [[1, good === 0 ? "red" : "green"]],
    queries: [{ expression: `${metric}{${NODE}}` }],
    width: 3,
  });

const glance: Row = {
  title: "At a glance",
  panels: [
    stat({
      title: "State",
      description: "As the node says itself. Draining is an operator's wish; cut off means no etcd or no storage.",
      unit: "short",
      words: NODE_STATE_WORDS,
      queries: [{ expression: nodeState(NODE), legend: "{{node}}" }],
      width: 3,
    }),
    stat({
      title: "Version",
      description: "Of Longshore. All nodes of a site run the same one, but during an upgrade.",
      unit: "short",
      base: "blue",
      showsName: true,
      queries: [{ expression: `longshore_build_info{${NODE}}`, legend: "{{version}}" }],
      width: 3,
    }),
    stat({
      title: "Up for",
      description: "Since the process started.",
      unit: "s",
      base: "yellow",
      steps: [[300, "green"]],
      queries: [{ expression: `time() - process_start_time_seconds{${PROCESS}}` }],
      width: 3,
    }),
    yesOrNo(
      "longshore_lease_usable",
      { title: "May commit", description: "Whether its lease in etcd is usable: without it no commit starts here." },
      1,
    ),
    yesOrNo(
      "longshore_storage_healthy",
      { title: "Storage", description: "Whether the storage is there, is the site's, can be written and isn't full." },
      1,
    ),
    yesOrNo(
      "longshore_native_crypto_loaded",
      {
        title: "Native ciphers",
        description: "Whether SSH encrypts in native code; without, it is several times slower.",
      },
      1,
    ),
    yesOrNo(
      "longshore_config_invalid",
      { title: "Bad configuration", description: "Whether the store holds an entry that this node can't use." },
      0,
    ),
    stat({
      title: "Sessions",
      description: "SFTP sessions open here now.",
      unit: "short",
      queries: [{ expression: `longshore_sessions{${NODE}}` }],
      width: 3,
    }),
  ],
};

const partners: Row = {
  title: "Partners",
  panels: [
    graph({
      title: "Throughput",
      description: "Bytes of files moved in a second. A running transfer counts in steps of 4 MiB.",
      unit: "Bps",
      queries: [{ expression: rate("longshore_transfer_bytes_total", NODE, "direction"), legend: "{{direction}}" }],
      width: 8,
    }),
    graph({
      title: "Sessions and transfers",
      description: "Open now. Connections that aren't logged in are few and short-lived.",
      unit: "short",
      queries: [
        { expression: `longshore_sessions{${NODE}}`, legend: "sessions" },
        { expression: `longshore_transfers_running{${NODE}}`, legend: "transfers" },
        { expression: `longshore_connections{${NODE},phase="unauthenticated"}`, legend: "not logged in" },
      ],
      width: 8,
    }),
    graph({
      title: "Transfers ended",
      description: "In a second, by direction and outcome.",
      unit: "ops",
      queries: [
        {
          expression: rate("longshore_transfers_total", NODE, "direction, outcome"),
          legend: "{{direction}} {{outcome}}",
        },
      ],
      width: 8,
    }),
    graph({
      title: "SFTP requests",
      description: "In a second, by name. Many `stat` and few `read` or `write` is a client that polls.",
      unit: "reqps",
      queries: [{ expression: rate("longshore_sftp_requests_total", NODE, "request"), legend: "{{request}}" }],
      width: 8,
    }),
    graph({
      title: "SFTP failures",
      description: "Failure replies in a second. `no-such-file` is common: clients ask before they write.",
      unit: "ops",
      queries: [{ expression: rate("longshore_sftp_failures_total", NODE, "status"), legend: "{{status}}" }],
      width: 8,
    }),
    graph({
      title: "Logins",
      description: "Attempts with a credential in a second, by method and outcome.",
      unit: "ops",
      queries: [
        { expression: rate("longshore_logins_total", NODE, "method, outcome"), legend: "{{method}} {{outcome}}" },
      ],
      width: 8,
    }),
    graph({
      title: "Connections",
      description: "Taken and turned away in a second.",
      unit: "ops",
      queries: [
        { expression: rate("longshore_connections_opened_total", NODE), legend: "taken" },
        { expression: rate("longshore_connections_refused_total", NODE, "reason"), legend: "{{reason}}" },
      ],
      width: 8,
    }),
    graph({
      title: "Connections ended",
      description: "In a second, by reason: mostly `client`.",
      unit: "ops",
      queries: [{ expression: rate("longshore_connections_closed_total", NODE, "reason"), legend: "{{reason}}" }],
      width: 8,
    }),
    graph({
      title: "SFTP stream",
      description: "Bytes of SFTP's own stream in a second: files, and what is said about them.",
      unit: "Bps",
      queries: [{ expression: rate("longshore_sftp_bytes_total", NODE, "direction"), legend: "{{direction}}" }],
      width: 8,
    }),
  ],
};

const commits: Row = {
  title: "Commits, the store and the configuration",
  panels: [
    graph({
      title: "Commit latency",
      description: "From the last byte of an upload to its acknowledgement. Empty while nobody uploads here.",
      unit: "s",
      steps: [[2, "red"]],
      queries: [
        { expression: quantile(0.5, "longshore_commit_seconds", NODE), legend: "p50" },
        { expression: quantile(0.99, "longshore_commit_seconds", NODE), legend: "p99" },
      ],
      width: 8,
    }),
    graph({
      title: "Commit errors",
      description: "Uploads that weren't committed, in a second, by reason. Normal is none.",
      unit: "ops",
      queries: [{ expression: rate("longshore_commit_errors_total", NODE, "reason"), legend: "{{reason}}" }],
      width: 8,
    }),
    graph({
      title: "Work of others finished",
      description: "What this node took over, committed or swept for others, in a second.",
      unit: "ops",
      queries: [{ expression: rate("longshore_recoveries_total", NODE, "action"), legend: "{{action}}" }],
      width: 8,
    }),
    graph({
      title: "Store latency, p99",
      description: "Calls to the coordination store. A few milliseconds are normal.",
      unit: "s",
      steps: [[1, "red"]],
      queries: [{ expression: quantile(0.99, "longshore_store_seconds", NODE, "call"), legend: "{{call}}" }],
      width: 8,
    }),
    graph({
      title: "Store errors",
      description:
        "Calls that failed, in a second. If other nodes have none, it is the network between this one and etcd.",
      unit: "ops",
      queries: [
        { expression: rate("longshore_store_errors_total", NODE, "call, outcome"), legend: "{{call}} {{outcome}}" },
      ],
      width: 8,
    }),
    graph({
      title: "Configuration lag",
      description: "How long the node has known that its configuration may be behind. Normal is 0.",
      unit: "s",
      steps: [[5, "red"]],
      queries: [{ expression: `longshore_config_lag_seconds{${NODE}}`, legend: "lag" }],
      width: 8,
    }),
  ],
};

const processRow: Row = {
  title: "Process",
  panels: [
    graph({
      title: "Event-loop lag",
      description:
        "Longest delay between two scrapes. All sessions of the node wait that long; well below 0.1 s is normal.",
      unit: "s",
      steps: [
        [0.1, "yellow"],
        [LAG_HIGH_S, "red"],
      ],
      queries: [{ expression: `longshore_event_loop_lag_seconds{${NODE}}`, legend: "longest" }],
      width: 8,
    }),
    graph({
      title: "CPU",
      description: "Of one core. Near 1 in user mode, this node's encryption is the limit: add a node.",
      unit: "percentunit",
      stacked: true,
      steps: [[1.5, "yellow"]],
      queries: [
        { expression: `rate(process_cpu_user_seconds_total{${PROCESS}}[${RATE}])`, legend: "user" },
        { expression: `rate(process_cpu_system_seconds_total{${PROCESS}}[${RATE}])`, legend: "system" },
      ],
      width: 8,
    }),
    graph({
      title: "Garbage collection",
      description: "Share of the time, by kind. Above a tenth the heap is too small for the load.",
      unit: "percentunit",
      steps: [[0.1, "red"]],
      queries: [
        { expression: `sum by (kind) (rate(nodejs_gc_duration_seconds_sum{${NODE}}[${RATE}]))`, legend: "{{kind}}" },
      ],
      width: 8,
    }),
    graph({
      title: "Memory",
      description: "Resident memory, JavaScript's heap, and buffers outside of it. A line that only rises is a leak.",
      unit: "bytes",
      queries: [
        { expression: `process_resident_memory_bytes{${PROCESS}}`, legend: "resident" },
        { expression: `nodejs_heap_size_used_bytes{${NODE}}`, legend: "heap used" },
        { expression: `nodejs_heap_size_total_bytes{${NODE}}`, legend: "heap" },
        { expression: `nodejs_external_memory_bytes{${NODE}}`, legend: "buffers" },
      ],
      width: 12,
    }),
    graph({
      title: "Open files",
      description: "File descriptors: one a connection and one an open file. Past the limit connections fail.",
      unit: "short",
      queries: [
        { expression: `process_open_fds{${PROCESS}}`, legend: "open" },
        { expression: `process_max_fds{${PROCESS}}`, legend: "limit" },
      ],
      width: 12,
    }),
  ],
};
