import { SCRAPE_SECONDS } from "#monitoring/prometheus.js";

/**
 * What Grafana reads at its start. Names of hosts are the services' in compose/compose.yaml, and `grafana/` of this
 * repository is what Grafana sees as /etc/grafana (but for grafana.ini).
 */
export const DATASOURCE_UID = "longshore-prometheus";
export const DATASOURCE_NAME = "Prometheus";
export const DASHBOARDS_PATH = "/etc/grafana/dashboards";

export const DATASOURCES = {
  apiVersion: 1,
  datasources: [
    {
      name: DATASOURCE_NAME,
      uid: DATASOURCE_UID,
      type: "prometheus",
      access: "proxy",
      url: "http://prometheus:9090",
      isDefault: true,
      editable: false,
      // Rates span at least four scrapes: $__rate_interval goes by this.
      jsonData: { timeInterval: `${SCRAPE_SECONDS}s`, httpMethod: "POST" },
    },
    {
      name: "Alertmanager",
      uid: "longshore-alertmanager",
      type: "alertmanager",
      access: "proxy",
      url: "http://alertmanager:9093",
      editable: false,
      jsonData: { implementation: "prometheus" },
    },
  ],
};

export const DASHBOARD_PROVIDERS = {
  apiVersion: 1,
  providers: [
    {
      name: "Longshore",
      folder: "Longshore",
      type: "file",
      disableDeletion: true,
      allowUiUpdates: false,
      updateIntervalSeconds: 60,
      options: { path: DASHBOARDS_PATH },
    },
  ],
};
