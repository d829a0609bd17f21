import { fileURLToPath } from "node:url";
import { type Address, hostPort } from "#lib/address.js";

/** Something to scrape that there are several of; `name` tells it from its like. */
export interface NamedTarget extends Address {
  readonly name: string;
}

export interface PrometheusOptions {
  /** Label `site` of everything. */
  readonly site: string;
  /** The nodes' admin addresses; label `node`. One that isn't there is scraped in vain, and no alert comes of it. */
  readonly nodes: readonly NamedTarget[];
  /** The nodes' admin ports speak TLS. Absent: HTTP in the clear. */
  readonly nodesTls?: {
    /** Certificates (PEM) of the authorities that may have signed a node's certificate, as Prometheus sees the file. */
    readonly caFile: string;
    /** A name that is in every node's certificate. Absent: each one's must hold the address that it is scraped at. */
    readonly serverName?: string;
  };
  /** HAProxy's metrics; label `balancer`. */
  readonly balancers: readonly NamedTarget[];
  /** etcd's plain metrics address; label `member`. */
  readonly etcd: readonly NamedTarget[];
  /** Prometheus itself, as it reaches itself. */
  readonly prometheus: Address;
  /** Where alerts are sent, and scraped, too. Absent: they are seen in Prometheus only. */
  readonly alertmanager?: Address;
  /** Paths as Prometheus sees them. */
  readonly ruleFiles: readonly string[];
}

/**
 * Between scrapes and between evaluations of rules, in seconds: an operator who kills a node sees it in one breath. The
 * dashboards' data source says the same (grafana/source/provisioning.ts).
 */
export const SCRAPE_SECONDS = 5;

/** Our alerts in this checkout or installation. */
export const ALERT_RULES = fileURLToPath(new URL("../../../grafana/alerts/longshore.yaml", import.meta.url));

/** The whole prometheus.yml of a site, for `longshore up` and for the containers. As JSON, which is YAML. Pure. */
export function renderPrometheus(options: PrometheusOptions): string {
  const { site, alertmanager, nodesTls } = options;
  const target = (address: Address, labels: Readonly<Record<string, string>> = {}) => ({
    targets: [hostPort(address)],
    labels: { site, ...labels },
  });
  const named = (label: string, targets: readonly NamedTarget[]) =>
    targets.map((each) => target(each, { [label]: each.name }));
  const jobs = {
    longshore: named("node", options.nodes),
    haproxy: named("balancer", options.balancers),
    etcd: named("member", options.etcd),
    prometheus: [target(options.prometheus)],
    ...(alertmanager === undefined ? {} : { alertmanager: [target(alertmanager)] }),
  };
  const every = `${SCRAPE_SECONDS}s`;
  const config = {
    // A scrape that takes longer than the interval would be cut by it anyway.
    global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
    rule_files: options.ruleFiles,
    ...(alertmanager === undefined
      ? {}
      : { alerting: { alertmanagers: [{ static_configs: [{ targets: [hostPort(alertmanager)] }] }] } }),
    scrape_configs: Object.entries(jobs).map(([job_name, static_configs]) => ({
      job_name,
      ...(job_name === "longshore" && nodesTls !== undefined ? tls(nodesTls) : {}),
      static_configs,
    })),
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

function tls({ caFile, serverName }: NonNullable<PrometheusOptions["nodesTls"]>) {
  return {
    scheme: "https",
    tls_config: { ca_file: caFile, ...(serverName === undefined ? {} : { server_name: serverName }) },
  };
}
