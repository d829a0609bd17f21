import { ALERT_GROUPS, RUNBOOK } from "./alerts.js";
import { toYaml } from "./yaml.js";

/** Everything that is generated, by its path below grafana/. Pure: the test compares it with what is committed. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([["alerts/longshore.yaml", alertRules()]]);
}

const MADE = "# Made by `npm run grafana` from grafana/source. Changes are overwritten.\n";

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
