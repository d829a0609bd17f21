import { ALERT_GROUPS, RUNBOOK } from "./alerts.js";
import { nodeDashboard } from "./node.js";
import { DASHBOARD_PROVIDERS, DATASOURCES } from "./provisioning.js";
import { siteDashboard } from "./site.js";
import { toYaml } from "./yaml.js";

/** Everything that is generated, by its path below grafana/. Pure: the test compares it with what is committed. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["alerts/longshore.yaml", alertRules()],
    ["dashboards/site.json", json(siteDashboard())],
    ["dashboards/node.json", json(nodeDashboard())],
    // JSON is YAML, and Grafana takes these names only.
    ["provisioning/datasources/longshore.yaml", json(DATASOURCES)],
    ["provisioning/dashboards/longshore.yaml", json(DASHBOARD_PROVIDERS)],
  ]);
}

const MADE = "# Made by `npm run grafana` from grafana/source. Changes are overwritten.\n";

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function alertRules(): string {
  const groups = ALERT_GROUPS.map(({ name, alerts }) => ({
    name,
    rules: alerts.map((alert) => ({
      alert: alert.name,
      expr: alert.expression,
      for: alert.holds,
      labels: { severity: alert.severity },
      annotations: {
        summary: alert.summary,
        description: alert.description,
        runbook: `${RUNBOOK}#${alert.name.toLowerCase()}`,
      },
    })),
  }));
  return MADE + toYaml({ groups });
}
