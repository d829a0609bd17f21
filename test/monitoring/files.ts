import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type DashboardJson, dashboardSchema } from "./dashboard-schema.js";

/** What is committed in grafana/, for tests. */

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const GRAFANA = join(ROOT, "grafana");
export const ALERTS = join(GRAFANA, "alerts", "longshore.yaml");

export function dashboardFiles(): readonly string[] {
  const directory = join(GRAFANA, "dashboards");
  return readdirSync(directory).map((name) => join(directory, name));
}

/** Throws what is wrong with the file. */
export function readDashboard(file: string): DashboardJson {
  return dashboardSchema.parse(JSON.parse(readFileSync(file, "utf8")));
}

export interface PanelQuery {
  /** `site.json: Commit latency, p99`. */
  readonly where: string;
  /** With Grafana's variables in it. */
  readonly expression: string;
}

export function queriesOf(file: string): readonly PanelQuery[] {
  return readDashboard(file).panels.flatMap((panel) =>
    panel.type === "row"
      ? []
      : panel.targets.map(({ expr, legendFormat }) => ({
          where: `${basename(file)}: ${panel.title}, ${legendFormat}`,
          expression: expr,
        })),
  );
}

/** As Grafana sends it. Throws where a variable has no value. */
export function filledIn(expression: string, values: Readonly<Record<string, string>>): string {
  return expression.replace(/\$(\w+)/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`no variable $${name}: ${expression}`);
    return value;
  });
}
